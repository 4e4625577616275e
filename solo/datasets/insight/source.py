"""An annotation file together with the image files that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.coco.annotations import CheckedAnnotations, read_annotations
from solo.errors import DataError

_FILES_TRIED = 5


class SourceImage(NamedTuple):
    """An image of a source: its path, which need not exist, and its usable annotations."""

    path: Path
    annotated: AnnotatedImage


@dataclass(frozen=True, kw_only=True)
class AnnotationSource:
    """The usable content of an annotation file and the folder of its images.

    Attributes:
        path: The annotation file.
        checked: Its content after the checks of training.
        folder: The folder that the images' `file_name` is relative to.
        has_images: Whether one of the images tried was found there.
    """

    path: Path
    checked: CheckedAnnotations
    folder: Path
    has_images: bool

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None) -> AnnotationSource:
        """Read an annotation file and find its images.

        Args:
            path: The annotation file.
            images: Folder of the images; None looks beside the file, where COCO, this project's configs and common
                tools put them.

        Raises:
            DataError: The file cannot be read, or `images` is no folder.
        """
        path = Path(path).expanduser()
        checked = read_annotations(path)
        names = [record["file_name"] for record in checked.images[:_FILES_TRIED]]
        if names and all(map(os.path.isabs, names)):  # those of a YOLO data.yaml
            folders = [os.path.dirname(record["file_name"]) for record in checked.images]
            folder = Path(os.path.commonpath(folders))
            return cls(path=path, checked=checked, folder=folder, has_images=_holds_one(folder, names))
        if images is not None:
            folder = Path(images).expanduser()
            if not folder.is_dir():
                raise DataError(f"image folder {folder} does not exist or is no folder")
            return cls(path=path, checked=checked, folder=folder, has_images=_holds_one(folder, names))
        for folder in _likely_folders(path):
            if _holds_one(folder, names):
                return cls(path=path, checked=checked, folder=folder, has_images=True)
        return cls(path=path, checked=checked, folder=path.parent, has_images=False)

    def images(self) -> Iterator[SourceImage]:
        """All images in the order of the file."""
        for record, annotated in zip(self.checked.images, self.checked.annotated_images(), strict=True):
            yield SourceImage(self.folder / record["file_name"], annotated)

    def sample(self, count: int, *, seed: int = 0, with_objects: bool = True) -> list[SourceImage]:
        """Sample at most `count` different images, in the order of the file; by default those that have objects."""
        found = [
            image for image in self.images() if not with_objects or not all(image.annotated.instances.ignore_flags)
        ]
        if len(found) <= count:
            return found
        chosen = np.random.default_rng(seed).choice(len(found), count, replace=False)
        return [found[index] for index in np.sort(chosen)]


def pair_folders(
    paths: Sequence[str | os.PathLike[str]], images: Sequence[str | os.PathLike[str]] | None
) -> list[str | os.PathLike[str] | None]:
    """The image folder of each annotation file: one for each or one for all; None where none is given.

    Raises:
        DataError: There are several folders, but not one for each file.
    """
    if images and len(images) not in (1, len(paths)):
        raise DataError(f"{len(images)} image folders for {len(paths)} annotation files; give one, or one for each")
    if not images:
        return [None] * len(paths)
    return [*images] * (len(paths) if len(images) == 1 else 1)


def _likely_folders(path: Path) -> list[Path]:
    """Folders that may hold the images of an annotation file, the likeliest first."""
    split = re.sub(r"^(instances|annotations)_|_annotations(\.coco)?$", "", path.stem)
    roots = [path.parent.parent, path.parent] if path.parent.name else [path.parent]
    folders = [root / name for root in roots for name in (split, f"images/{split}", "images", "")]
    # The parts that `solo data split` writes keep their images in one folder, that of the file they come from.
    return [*folders, Path("."), *(root / "train" for root in roots)]


def _holds_one(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in names)
