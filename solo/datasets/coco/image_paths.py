"""Checks, before anything runs, that the images of a dataset are where its annotation file says."""

from __future__ import annotations

import os
from collections.abc import Sequence

from solo.errors import DataError

_NUM_CHECKED = 20


def check_images_exist(paths: Sequence[str], file_names: Sequence[str], *, ann_file: str, folder: str) -> None:
    """Check a few images, evenly spread; one that exists is enough, since single ones may be missing.

    Args:
        paths: Path of each image.
        file_names: File name of each image in the annotation file.
        ann_file: Annotation file, for the message.
        folder: Folder of the images.

    Raises:
        DataError: None of the checked images exists.
    """
    checked = range(0, len(paths), max(1, len(paths) // _NUM_CHECKED))
    if not checked or any(os.path.exists(paths[index]) for index in checked):
        return
    raise DataError(
        f"annotation file {ann_file}: none of the {len(checked)} images checked exists, such as {paths[0]} "
        f"(folder {folder or '.'}, which data_root and data_prefix.img give, and file_name {file_names[0]!r})"
        + _hint(file_names[0], folder=folder)
    )


def _hint(file_name: str, *, folder: str) -> str:
    """The path that exists instead, or what is wrong with the name."""
    if "\\" in file_name:
        return "; write the file names with / instead of backslashes"
    base = os.path.basename(file_name)
    parent = os.path.dirname(folder.rstrip("/"))
    for candidate in (os.path.join(folder, base), os.path.join(parent, file_name), os.path.join(parent, base)):
        if os.path.exists(candidate):
            return f"; there is {candidate}"
    return ""
