"""Masks as image files, in four layouts.

| name | files | an object is |
|---|---|---|
| label-maps | one an image | each value, or each colour, but 0 |
| class-maps | one an image | each connected part of each value, which stands for a class |
| class-files | one a class and image, CLASS/NAME.png | each connected part of what is not 0 |
| instance-files | one an object, NAME/*.png or NAME_*.png | all that is not 0 |

Images are in a folder `images` and masks in `masks` (or `labels`, `annotations`, `gt`), below folders train, val and
test or without them, or NAME_mask.png lies beside NAME.jpg; the Data Science Bowl 2018 has `NAME/images/NAME.png` and
`NAME/masks/*.png`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from solo.datasets.formats.files import image_size, read_label_map, split_folders
from solo.datasets.formats.mask_layout import ONE_CLASS, ONE_OBJECT, MaskFile, find_mask_files
from solo.datasets.formats.records import DEFAULT_CLASS, ConversionReport, ImageRecord, ObjectRecord, encode_bitmap
from solo.errors import DataError
from solo.images.reading import UnreadableImageError

LABEL_MAPS, CLASS_MAPS, CLASS_FILES, INSTANCE_FILES = "label-maps", "class-maps", "class-files", "instance-files"
LAYOUTS = (LABEL_MAPS, CLASS_MAPS, CLASS_FILES, INSTANCE_FILES)

UNREADABLE = "mask file cannot be read"
OTHER_SIZE = "mask file has another size than its image"
UNREADABLE_IMAGE = "image cannot be read"
WITHOUT_IMAGE = "mask file belongs to no image"
UNNAMED_VALUE = "value has no class name"

_LOOKED_AT = 20
_MAX_PARTS = 1.3  # connected parts of a value, on average, in files whose values are objects
_MAX_SHOWN = 200

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.int64]


class MaskFilesSource:
    """Images with masks in files, in one of the layouts."""

    def __init__(
        self, path: Path, report: ConversionReport, *, layout: str | None = None, names: Sequence[str] = ()
    ) -> None:
        """Find the files.

        Args:
            path: the folder.
            report: what is left out is counted there.
            layout: one of `LAYOUTS`; None finds it by the names and values of files.
            names: class names: of class-maps those of the values from 1 on, or of the colours in ascending order; of
                other layouts without names the first is that of all objects.

        Raises:
            DataError: there are no images or masks, or there are more colours than names.
        """
        self._files, self._report = {}, report
        for split, folder in split_folders(path).items():
            files, without = find_mask_files(folder)
            if files:
                self._files[split] = files
            if files and without:
                report.lost[WITHOUT_IMAGE] += map(_name, without)
        if not any(each.masks for files in self._files.values() for each in files):
            raise DataError(f"{path}: expected folders images and masks, with files of the same names")
        self.splits = tuple(self._files)
        self._layout = layout or self._find_layout()
        if layout is None and self._layout in (LABEL_MAPS, CLASS_MAPS):
            meaning = "objects" if self._layout == LABEL_MAPS else "classes, and their connected parts as objects"
            report.remarks.append(f"values of the mask files are taken as {meaning} (--from {self._layout})")
        self._default = names[0] if names else DEFAULT_CLASS
        self._class_by_value = self._name_values(names) if self._layout == CLASS_MAPS else {}
        if self._layout == CLASS_MAPS:
            self.classes = tuple(dict.fromkeys(names or self._class_by_value.values()))
        else:
            self.classes = tuple(sorted({self._class_of(mask) for mask in self._masks()}))

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the images of a split and their masks, one after the other."""
        for image, masks in self._files[split]:
            try:
                height, width = image_size(image)
            except UnreadableImageError:
                self._report.lost[UNREADABLE_IMAGE].append(image.name)
                continue
            objects: list[ObjectRecord] = []
            for mask in masks:
                values = self._read(mask.path)
                if values is None:
                    continue
                if len(masks) == 1 and values.shape == (width, height):
                    height, width = width, height  # of the image as it is stored, not as its orientation turns it
                if values.shape == (height, width):
                    objects += self._objects(mask, values)
                else:
                    self._report.lost[OTHER_SIZE].append(_name(mask.path))
            yield ImageRecord(name=image.name, path=image, height=height, width=width, objects=objects)

    def _read(self, path: Path) -> Values | None:
        try:
            return read_label_map(path)
        except UnreadableImageError:
            self._report.lost[UNREADABLE].append(_name(path))
            return None

    def _objects(self, mask: MaskFile, values: Values) -> Iterator[ObjectRecord]:
        """The objects of one file."""
        name = _name(mask.path)
        for value in np.unique(values[values != 0] if self._has_values else values[values != 0] > 0).tolist():
            pixels = values == value if self._has_values else values != 0
            class_name = self._class_by_value.get(value) if self._layout == CLASS_MAPS else self._class_of(mask)
            object_id = f"{name}:{value}" if self._has_values else name
            if class_name is None:
                self._report.lost[UNNAMED_VALUE].append(object_id)
                continue
            are_parts = self._layout in (CLASS_MAPS, CLASS_FILES)
            for number, part in enumerate(connected_parts(pixels) if are_parts else [pixels]):
                part_id = f"{object_id}:{number}" if are_parts else object_id
                yield ObjectRecord(class_name=class_name, segmentation=encode_bitmap(part), object_id=part_id)

    @property
    def _has_values(self) -> bool:
        return self._layout in (LABEL_MAPS, CLASS_MAPS)

    def _masks(self) -> Iterator[MaskFile]:
        return (mask for files in self._files.values() for each in files for mask in each.masks)

    def _class_of(self, mask: MaskFile) -> str:
        return mask.class_name or self._default

    def _find_layout(self) -> str:
        contents = {mask.content for mask in self._masks()}
        if ONE_OBJECT in contents:
            return INSTANCE_FILES
        if ONE_CLASS in contents:
            return CLASS_FILES
        # Files of one value separate no objects; and an object is rarely in several parts, a class often.
        num_values = num_parts = 0
        are_single = True
        for values in self._some_values(_LOOKED_AT):
            found = np.unique(values[values != 0])
            num_values += len(found)
            num_parts += sum(cv2.connectedComponents((values == value).astype(np.uint8))[0] - 1 for value in found)
            are_single &= len(found) <= 1
        return CLASS_MAPS if are_single or num_parts > _MAX_PARTS * num_values else LABEL_MAPS

    def _some_values(self, count: int | None) -> Iterator[Values]:
        for mask in islice(self._masks(), count):
            try:
                yield read_label_map(mask.path)
            except UnreadableImageError:
                continue  # reported when the image is read

    def _name_values(self, names: Sequence[str]) -> dict[int, str]:
        """Value of class-maps -> class.

        Raises:
            DataError: there are more colours than names.
        """
        used = sorted({value for values in self._some_values(None) for value in np.unique(values).tolist()} - {0})
        if len(used) == 1 and len(names) <= 1:
            return {used[0]: self._default}
        is_color = any(value > 0xFFFF for value in used)
        if names and not is_color:
            return dict(enumerate(names, 1))
        shown = [f"#{value:06x}" if is_color else f"class {value}" for value in used]
        if names and len(names) != len(used):
            raise DataError(f"{len(names)} class names for the {len(used)} colours {', '.join(shown)[:_MAX_SHOWN]}")
        return dict(zip(used, names or shown, strict=True))


def connected_parts(mask: Mask) -> Iterator[Mask]:
    """The parts of a mask (H, W) whose pixels touch at a side or a corner, each (H, W)."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    for label in range(1, count):
        yield labels == label


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
