"""Writers of one folder each, with the files of other programs."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from solo.errors import OutputError
from solo.inference.instances import Instances
from solo.inference.sources.frames import Frame
from solo.inference.writers.coco_spool import CocoSpool
from solo.inference.writers.formats import (
    Losses,
    cut_outs,
    to_coco_polygons,
    to_label_map,
    to_labelme,
    to_yolo,
)
from solo.output_files import check_outputs, inputs_within, write_output

Encode = Callable[[Frame, Instances, Losses], Iterator[tuple[str, bytes]]]
"""Gives path, relative to the folder of the writer, and content of each file of a frame, and counts what is lost."""


class FolderWriter:
    """Writes the files of one format to a folder of its own.

    Attributes:
        title: what the summary calls the format.
        losses: what the format could not hold so far.
    """

    def __init__(
        self,
        folder: Path,
        encode: Encode,
        *,
        title: str,
        overwrite: bool = False,
        inputs: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        """Check that no other file would be lost.

        Args:
            folder: created with its first file.
            encode: makes the files.
            title: what the summary calls the format.
            overwrite: the folder may hold files, which are replaced by those of the same name.
            inputs: files that are read; none of them may lie in the folder.

        Raises:
            OutputError: the folder holds an input or, without `overwrite`, any file.
        """
        self.title = title
        self.losses = Losses()
        self._folder = folder
        self._encode = encode
        if within := inputs_within(folder, inputs):
            raise OutputError(f"{within[0]} is a file that this command reads; write {title} to another --out-dir")
        if folder.is_dir() and not overwrite and any(folder.iterdir()):
            raise OutputError(
                f"folder {folder} holds files already; choose another --out-dir, or replace files with --overwrite"
            )

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write the files of a frame.

        Raises:
            OutputError: a file cannot be written.
        """
        for name, content in self._encode(frame, instances, self.losses):
            write_output(self._folder / name, content)

    def close(self) -> None:
        """Nothing is left to do: each file was written whole."""


def yolo_files(tolerance: float) -> Encode:
    """`NAME.txt` with the lines of `to_yolo`; an empty file for an image without objects."""

    def encode(frame: Frame, instances: Instances, losses: Losses) -> Iterator[tuple[str, bytes]]:
        text, lost = to_yolo(instances, tolerance=tolerance)
        losses.update(lost)
        yield f"{frame.name}.txt", text.encode()

    return encode


def label_map_files(frame: Frame, instances: Instances, losses: Losses) -> Iterator[tuple[str, bytes]]:
    """`NAME.png`, a 16-bit gray PNG of `to_label_map`."""
    numbers, lost = to_label_map(instances)
    losses.update(lost)
    yield f"{frame.name}.png", _png(numbers)


def labelme_files(folder: Path, tolerance: float) -> Encode:
    """`NAME.json` for labelme, which refers to an image file, and contains a frame of a video.

    labelme reads the image of a file itself and turns it by its EXIF orientation, as solo does.
    """

    def encode(frame: Frame, instances: Instances, losses: Losses) -> Iterator[tuple[str, bytes]]:
        path = f"{frame.name}.json"
        if frame.time is None:
            start = (folder / path).parent.resolve()
            image_path, data = os.path.relpath(Path(frame.path).resolve(), start), None
        else:
            image_path, data = f"{Path(frame.name).name}.png", _png(frame.image)
        content, lost = to_labelme(instances, image_path=image_path, image_data=data, tolerance=tolerance)
        losses.update(lost)
        yield path, json.dumps(content).encode()

    return encode


def cut_out_files(frame: Frame, instances: Instances, losses: Losses) -> Iterator[tuple[str, bytes]]:
    """`CLASS/NAME_NUMBER.png` of each instance, transparent outside its mask."""
    if frame.is_large:
        losses["objects of images that are read by windows"] += len(instances)
        return
    for number, (label, cut_out) in enumerate(
        zip(instances.labels.tolist(), cut_outs(frame.image, instances), strict=True), start=1
    ):
        if cut_out is None:
            losses["objects without a pixel"] += 1
        else:
            yield f"{class_folder(instances.classes, label)}/{frame.name}_{number:04d}.png", _png(cut_out)


def class_folder(classes: Sequence[str], label: int) -> str:
    """A folder's name for a class: letters, digits, "-" and "_" of its name; with its number if that is no other's."""
    names = [re.sub(r"\W+", "_", name).strip("_")[:60] or "class" for name in classes]
    shared = Counter(name.lower() for name in names)[names[label].lower()] > 1
    return f"{names[label]}_{label}" if shared else names[label]


class CocoWriter:
    """Writes `coco.json`, a COCO data set of the instances: what annotations of a training look like.

    Image files are named relative to the folder that they have in common, frames by the name of their results.
    """

    title = "coco.json"

    def __init__(
        self,
        path: Path,
        *,
        images: Sequence[Path],
        classes: Sequence[str],
        polygons: bool = False,
        tolerance: float = 0.0,
        overwrite: bool = False,
        inputs: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        """Check that no other file would be lost.

        Args:
            path: the file.
            images: the image files that will be predicted.
            classes: class names; categories have the ids 1, 2, ...
            polygons: write polygons, which have no holes, instead of RLEs.
            tolerance: pixels by which polygons may be simplified.
            overwrite: replace a file of that name.
            inputs: files that are read, which are never replaced.

        Raises:
            OutputError: the file exists, or cannot be written.
        """
        check_outputs([path], overwrite=overwrite, inputs=inputs)
        self.losses = Losses()
        self._root = os.path.commonpath([os.path.abspath(image.parent) for image in images]) if images else ""
        self._polygons = polygons
        self._tolerance = tolerance
        self._spool = CocoSpool(path, classes=classes, info=dict(description="Instances predicted by solo"))

    def write(self, frame: Frame, instances: Instances) -> None:
        """Add an image and its instances.

        Raises:
            OutputError: the disk is full.
        """
        height, width = instances.image_size
        is_file = frame.time is None
        name = os.path.relpath(os.path.abspath(frame.path), self._root) if is_file else f"{frame.name}.png"
        image_id = self._spool.num_images + 1
        annotations = instances.to_coco(image_id=image_id, first_id=self._spool.num_annotations + 1)
        if self._polygons:
            outlines, lost = to_coco_polygons(instances, tolerance=self._tolerance)
            self.losses.update(lost)
            pairs = zip(annotations, outlines, strict=True)
            annotations = [annotation | dict(segmentation=parts) for annotation, parts in pairs if parts]
        self._spool.add(dict(id=image_id, file_name=name, width=width, height=height), annotations)

    def close(self) -> None:
        """Write the file.

        Raises:
            OutputError: it cannot be written.
        """
        self._spool.close()


def _png(pixels: np.ndarray) -> bytes:
    content: bytes = cv2.imencode(".png", pixels)[1].tobytes()
    return content
