"""Finds images and the mask files that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from solo.datasets.formats.files import by_stem, list_images, natural_key

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "gt", "segmentations")
_SUFFIXES = ("_masks", "_mask", "_labels", "_label", "_seg", "_gt")

WHOLE_IMAGE, ONE_CLASS, ONE_OBJECT = "whole image", "one class", "one object"


class MaskFile(NamedTuple):
    """A mask file, and what its name says about its content."""

    path: Path
    content: str  # WHOLE_IMAGE, ONE_CLASS or ONE_OBJECT
    class_name: str  # empty where the name has none


class MaskFiles(NamedTuple):
    """The mask files of an image."""

    image: Path
    masks: list[MaskFile]


def find_mask_files(folder: Path) -> tuple[list[MaskFiles], list[Path]]:
    """The images of a folder with their masks, and the mask files that belong to no image; all empty for other data."""
    images_folder, masks_folder = _one_of(folder, IMAGE_FOLDERS), _one_of(folder, MASK_FOLDERS)
    if images_folder and masks_folder:
        return _match(list_images(images_folder), masks_folder)
    if not masks_folder and not images_folder:
        own = [(each, _one_of(each, IMAGE_FOLDERS), _one_of(each, MASK_FOLDERS)) for each in _folders(folder)]
        found = [MaskFiles(image, _own_masks(masks)) for _, images, masks in own for image in _first(images, masks)]
        if found:
            return found, []
    return _match_suffixes(list_images(folder)), []


def _one_of(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _folders(folder: Path) -> list[Path]:
    return sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=natural_key)


def _first(images: Path | None, masks: Path | None) -> list[Path]:
    """The image of a folder of its own, as the Data Science Bowl 2018 has them."""
    return list_images(images)[:1] if images and masks else []


def _own_masks(folder: Path | None) -> list[MaskFile]:
    return [MaskFile(file, ONE_OBJECT, "") for file in list_images(folder)] if folder else []


def _match(images: list[Path], folder: Path) -> tuple[list[MaskFiles], list[Path]]:
    """Find the masks of images in a folder and in its folders."""
    found: dict[str, list[MaskFile]] = {stem: [] for stem in by_stem(images)}
    without = []
    for file in list_images(folder):
        stem, mask = _match_name(file, found)
        if mask is None:
            without.append(file)
        else:
            found[stem].append(mask)
    for inner in _folders(folder):
        for file in list_images(inner):
            if inner.name in found:
                found[inner.name].append(MaskFile(file, ONE_OBJECT, ""))
            elif _without_suffix(file.stem) in found:
                found[_without_suffix(file.stem)].append(MaskFile(file, ONE_CLASS, inner.name))
            else:
                without.append(file)
    return [MaskFiles(image, found[stem]) for stem, image in by_stem(images).items()], without


def _match_name(file: Path, found: dict[str, list[MaskFile]]) -> tuple[str, MaskFile | None]:
    """The image's name that a mask's name begins with, and what the rest says."""
    for stem in (file.stem, _without_suffix(file.stem)):
        if stem in found:
            return stem, MaskFile(file, WHOLE_IMAGE, "")
    for stem in _beginnings(file.stem):
        if stem in found:
            words = file.stem[len(stem) + 1 :].split("_")
            return stem, MaskFile(file, ONE_OBJECT, "_".join(word for word in words if not word.isdecimal()))
    return "", None


def _beginnings(stem: str) -> Iterator[str]:
    """What precedes each underscore, the longest first."""
    while "_" in stem:
        stem = stem.rpartition("_")[0]
        yield stem


def _without_suffix(stem: str) -> str:
    return next((stem[: -len(suffix)] for suffix in _SUFFIXES if stem.endswith(suffix)), stem)


def _match_suffixes(files: list[Path]) -> list[MaskFiles]:
    """Images and masks in one folder, NAME.jpg and NAME_mask.png."""
    masks = {_without_suffix(file.stem): file for file in files if _without_suffix(file.stem) != file.stem}
    images = [file for file in files if file not in masks.values()]
    if not any(image.stem in masks for image in images):
        return []
    return [
        MaskFiles(image, [MaskFile(masks[image.stem], WHOLE_IMAGE, "")] if image.stem in masks else [])
        for image in images
    ]
