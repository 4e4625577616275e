"""Says before anything runs that the images of a data set are somewhere else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from solo.errors import DataError

_LOOKED_AT = 20


def check_images_exist(paths: Sequence[str], file_names: Sequence[str], *, ann_file: str, folder: str) -> None:
    """Look for a few images, evenly spread; one that exists is enough, since single ones may be missing.

    Args:
        paths: Path of each image.
        file_names: What the annotation file calls it.
        ann_file: Annotation file, for the message.
        folder: Folder of the images.

    Raises:
        DataError: None of those looked at exists.
    """
    looked_at = range(0, len(paths), max(1, len(paths) // _LOOKED_AT))
    if not looked_at or any(os.path.exists(paths[index]) for index in looked_at):
        return
    raise DataError(
        f"annotation file {ann_file}: none of the {len(looked_at)} images looked at exists, such as {paths[0]} "
        f"(folder {folder or '.'}, which data_root and data_prefix.img give, and file_name {file_names[0]!r})"
        + _hint(file_names[0], folder=folder)
    )


def _hint(file_name: str, *, folder: str) -> str:
    """What would be found, if anything."""
    if "\\" in file_name:
        return "; write the file names with / instead of backslashes"
    base = os.path.basename(file_name)
    parent = os.path.dirname(folder.rstrip("/"))
    for place in (os.path.join(folder, base), os.path.join(parent, file_name), os.path.join(parent, base)):
        if os.path.exists(place):
            return f"; there is {place}"
    return ""
