"""Finds missing image files before the first one is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from solo.errors import DataError

_MAX_NAMED = 1000


def check_images_exist(
    paths: Sequence[str], file_names: Sequence[str], *, ann_file: str, folder: str, max_missing: int
) -> list[str]:
    """Find the images that do not exist.

    Args:
        paths: the image files.
        file_names: their names in the annotation file.
        ann_file: the annotation file, for messages.
        folder: where the images are looked for, for messages.
        max_missing: more missing images than this are an error, as are all of them.

    Returns:
        The missing files.

    Raises:
        DataError: more images are missing; the message names them.
    """
    missing = find_missing(paths)
    if len(missing) == len(paths) > 0:
        raise DataError(
            f"annotation file {ann_file}: none of its {len(paths)} images exists, such as {paths[0]} (folder "
            f"{folder or '.'}, which data_root and data_prefix.img give, and file_name {file_names[0]!r})"
            + _path_hint(file_names[0], folder=folder)
        )
    if len(missing) > max_missing:
        more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        allowed = f", more than max_unreadable={max_missing}" if max_missing else ""
        raise DataError(
            f"annotation file {ann_file}: {len(missing)} of its {len(paths)} images do not exist{allowed}: "
            f"{', '.join(missing[:_MAX_NAMED])}{more}"
        )
    return missing


def find_missing(paths: Iterable[str]) -> list[str]:
    """The files that do not exist, in order. Each folder is listed once: to look up every file is slow over a network.

    A file that is not in the list is looked up all the same: the file system may ignore upper and lower case.
    """
    listed: dict[str, frozenset[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = _list_folder(folder)
        if name not in listed[folder] and not os.path.exists(path):
            missing.append(path)
    return missing


def _list_folder(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder or "."))
    except (OSError, ValueError):  # missing, not to be listed, or with a null byte in its name
        return frozenset()


def _path_hint(file_name: str, *, folder: str) -> str:
    """The path that exists instead, or what is wrong with the name."""
    if "\\" in file_name:
        return "; write the file names with / instead of backslashes"
    base = os.path.basename(file_name)
    parent = os.path.dirname(folder.rstrip("/"))
    for candidate in (os.path.join(folder, base), os.path.join(parent, file_name), os.path.join(parent, base)):
        if os.path.exists(candidate):
            return f"; there is {candidate}"
    return ""
