"""Splits the images of an annotation file into parts for training, validation and testing."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.datasets.insight.coco_records import annotation_records, coco_content
from solo.datasets.insight.source import AnnotationSource
from solo.errors import ConfigError, DataError
from solo.output_files import check_outputs, write_output

PARTS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class GroupKey:
    """What images have to have in common to stay together. Without either field each image is a group of its own.

    Attributes:
        pattern: Regular expression that is searched for in the file name: its first group, or the whole match.
        field: Key of the image records.
    """

    pattern: str | None = None
    field: str | None = None

    def __post_init__(self) -> None:
        if self.pattern is not None and self.field is not None:
            raise ConfigError("images are grouped by a pattern of the file name or by a key of the record, not by both")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ConfigError(f"{self.pattern!r} is no regular expression: {error}") from None

    def of(self, record: Mapping[str, Any]) -> Any:
        """The group of an image.

        Raises:
            DataError: The file name does not match, or the record lacks the key.
        """
        if self.field is not None:
            if self.field not in record:
                raise DataError(f"image {record['file_name']} has no key {self.field!r}; it has {sorted(record)}")
            return repr(record[self.field])
        if self.pattern is None:
            return record["id"]
        found = re.search(self.pattern, record["file_name"])
        if found is None:
            raise DataError(f"file name {record['file_name']!r} does not match the pattern {self.pattern!r}")
        return found[1] if found.re.groups else found[0]


def split_images(
    source: AnnotationSource, fractions: Sequence[float], *, key: GroupKey, seed: int = 0
) -> list[list[int]]:
    """Distribute the images so that every part has its share of images and of each class's objects, nearly.

    Groups go one by one to the part that lacks most of what they hold, those with the rarest classes first (after
    Sechidis et al. 2011, iterative stratification).

    Args:
        source: The annotations.
        fractions: Of each part, positive numbers with sum 1.
        key: What keeps images together.
        seed: Of the order of groups that are alike.

    Returns:
        Ascending indices of the images of each part.

    Raises:
        ConfigError: The fractions do not sum to 1.
        DataError: There are fewer groups than parts, or an image has no group.
    """
    if not 2 <= len(fractions) <= len(PARTS) or min(fractions) <= 0 or not math.isclose(sum(fractions), 1):
        raise ConfigError(f"fractions must be two or three positive numbers with sum 1, not {list(fractions)}")
    members: defaultdict[Any, list[int]] = defaultdict(list)
    for index, record in enumerate(source.checked.images):
        members[key.of(record)].append(index)
    if len(members) < len(fractions):
        raise DataError(f"{source.path} has {len(members)} groups of images, fewer than the {len(fractions)} parts")
    contents = _count_contents(source)
    groups = list(members.values())
    counts = np.array([contents[group].sum(axis=0) for group in groups])  # (G, C + 1)
    parts: list[list[int]] = [[] for _ in fractions]
    for group, part in _assign(counts, np.asarray(fractions), seed=seed):
        parts[part] += groups[group]
    return [sorted(part) for part in parts]


def write_split(
    source: AnnotationSource,
    folder: str | os.PathLike[str],
    parts: Sequence[Sequence[int]],
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write a COCO file for each part: `instances_train.json`, `instances_val.json` and `instances_test.json`.

    File names of images stay as they are, relative to the folder of the images, and ids too. All parts have all
    categories.

    Raises:
        OutputError: A file exists and `overwrite` is False, or cannot be written.
    """
    files = [Path(folder) / f"instances_{name}.json" for name, _ in zip(PARTS, parts, strict=False)]
    check_outputs(files, overwrite=overwrite, inputs=[source.path])
    checked = source.checked
    annotated = list(checked.annotated_images())
    for file, part in zip(files, parts, strict=True):
        records = [
            record
            for index in part
            for record in annotation_records(
                annotated[index], checked.category_ids, image_id=checked.images[index]["id"]
            )
        ]
        images = [checked.images[index] for index in part]
        write_output(file, coco_content(images, records, checked.categories, further=checked.further))
    return files


def _count_contents(source: AnnotationSource) -> npt.NDArray[np.int64]:
    """(I, C + 1) ordinary objects of each class in each image, and 1 for the image itself."""
    num_classes = len(source.checked.classes)
    counts = np.ones((len(source.checked.images), num_classes + 1), np.int64)
    for row, image in zip(counts, source.checked.annotated_images(), strict=True):
        labels = np.asarray(image.instances.labels, np.int64)
        ordinary = labels[np.asarray(image.instances.ignore_flags, np.int64) == 0]
        row[:num_classes] = np.bincount(ordinary, minlength=num_classes)
    return counts


def _assign(counts: npt.NDArray[np.int64], fractions: npt.NDArray[np.float64], *, seed: int) -> list[tuple[int, int]]:
    """(group, part) of each of G groups, given what they hold (G, K); no part stays empty."""
    totals = counts.sum(axis=0).clip(min=1)
    lacking = np.outer(fractions, totals).astype(np.float64)  # (parts, K)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    shares = counts / totals  # (G, K): the rarer a class, the larger the share of a group that has it
    order = shuffled[np.argsort(-shares[shuffled].max(axis=1), kind="stable")]
    assigned: list[tuple[int, int]] = []
    empty = set(range(len(fractions)))
    for position, group in enumerate(order.tolist()):
        scores = (shares[group] * lacking / totals / fractions[:, None]).sum(axis=1)
        must_fill = len(order) - position <= len(empty)
        eligible = sorted(empty) if must_fill else range(len(fractions))
        part = max(eligible, key=lambda each: (scores[each], fractions[each]))
        lacking[part] -= counts[group]
        empty.discard(part)
        assigned.append((group, part))
    return assigned
