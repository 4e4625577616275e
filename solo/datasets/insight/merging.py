"""Merges annotation files into one: classes by name, ids counted anew, image paths relative to one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo.datasets.insight.coco_records import annotation_records, coco_content
from solo.datasets.insight.source import AnnotationSource
from solo.errors import DataError, suggestion
from solo.output_files import check_outputs, write_output


@dataclass(frozen=True, kw_only=True)
class MergedFile:
    """What was written: counts, and the folder that image paths are relative to, None where no image was found."""

    classes: tuple[str, ...]
    images: int
    annotations: int
    left_out: int
    folder: Path | None


def merge_sources(
    sources: Sequence[AnnotationSource],
    target: str | os.PathLike[str],
    *,
    renamed: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> MergedFile:
    """Write the annotations of several files as one COCO file.

    Classes of one name become one category, numbered from 1 in the order in which the files name them.

    Args:
        sources: The files, with the folders of their images. Where one has none, all file names stay as they are.
        target: The file to write.
        renamed: Class names that become another name first.
        overwrite: Replace `target` if it exists.

    Raises:
        DataError: A renamed class does not exist, or two files have the same image.
        OutputError: `target` cannot be written, is one of the files, or exists and `overwrite` is False.
    """
    check_outputs([target], overwrite=overwrite, inputs=[source.path for source in sources])
    renamed = renamed or {}
    known = [name for source in sources for name in source.checked.classes]
    for name in renamed:
        if name not in known:
            raise DataError(f"no file has a class {name!r}{suggestion(name, known)}")
    categories = _merge_categories(sources, renamed)
    folder = _common_folder(sources)
    seen: dict[str, Path] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for source in sources:
        ids = [int(categories[renamed.get(name, name)]["id"]) for name in source.checked.classes]
        for record, image in zip(source.checked.images, source.images(), strict=True):
            name = record["file_name"]
            if folder is not None:
                name = Path(os.path.relpath(os.path.abspath(image.path), folder)).as_posix()
            if name in seen:
                raise DataError(f"{source.path} and {seen[name]} both have the image {name}")
            seen[name] = source.path
            images.append({**record, "id": len(images) + 1, "file_name": name})
            found = annotation_records(image.annotated, ids, image_id=len(images))
            annotations += [{**entry, "id": number} for number, entry in enumerate(found, len(annotations) + 1)]
    further = sources[0].checked.further
    write_output(target, coco_content(images, annotations, list(categories.values()), further=further))
    return MergedFile(
        classes=tuple(categories),
        images=len(images),
        annotations=len(annotations),
        left_out=sum(source.checked.report.left_out for source in sources),
        folder=folder,
    )


def _merge_categories(sources: Sequence[AnnotationSource], renamed: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Name -> record of each category, the first file's record of a name with a new id."""
    merged: dict[str, dict[str, Any]] = {}
    for source in sources:
        for record in source.checked.categories:
            name = renamed.get(record["name"], record["name"])
            merged.setdefault(name, {**record, "name": name, "id": len(merged) + 1})
    return merged


def _common_folder(sources: Sequence[AnnotationSource]) -> Path | None:
    """The folder that holds all images; None if those of a file were not found, so that names stay as they are."""
    if not all(source.has_images for source in sources):
        return None
    return Path(os.path.commonpath([os.path.abspath(source.folder) for source in sources]))
