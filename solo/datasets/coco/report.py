"""The report of the checks of an annotation file."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log

_EXAMPLES = 5

CLIPPED = "box clipped to the image"


@dataclass(kw_only=True)
class AnnotationReport:
    """What the checks of one annotation file found.

    Attributes:
        path: The annotation file.
        images: Images in the file.
        annotations: Annotations in the file.
        used: Annotations of ordinary objects that are used.
        crowds: Annotations of crowd regions that are used (not trained on, ignored in the evaluation).
        other_classes: Annotations of known categories that were not asked for.
        problems: Kind of problem -> ids of the annotations that are left out because of it.
        repairs: Kind of defect -> ids of the annotations that are used all the same, most of them after a repair.
        remarks: Further sentences about the file.
        images_without_objects: Images that have no ordinary object.
        images_filtered: Images left out of training, because they have no object or are too small.
    """

    path: Path
    images: int = 0
    annotations: int = 0
    used: int = 0
    crowds: int = 0
    other_classes: int = 0
    problems: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    repairs: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    remarks: list[str] = field(default_factory=list)
    images_without_objects: int = 0
    images_filtered: int = 0

    @property
    def left_out(self) -> int:
        """Number of annotations that cannot be used."""
        return sum(map(len, self.problems.values()))

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.images} images ({self.images_without_objects} without objects), "
            f"{self.annotations} annotations: {self.used} objects, {self.crowds} crowd regions",
            *(f"  {remark}" for remark in self.remarks),
        ]
        if self.other_classes:
            lines.append(f"  {self.other_classes} annotations of classes that were not asked for")
        if self.images_filtered:
            lines.append(f"  {self.images_filtered} images left out of training (no object, or too small)")
        lines += [f"  {len(ids)} used, {kind}: {_examples(ids)}" for kind, ids in sorted(self.repairs.items())]
        if len(self.repairs.get(CLIPPED, ())) > (self.used + self.crowds) / 2:
            # Boxes of corners, read as corner and size, cross the border more often than not.
            lines.append("  is each bbox [x, y, width, height], and not [x1, y1, x2, y2]?")
        lines += [f"  {len(ids)} left out, {kind}: {_examples(ids)}" for kind, ids in sorted(self.problems.items())]
        return "\n".join(lines)

    def log(self) -> None:
        """Log the report in the main process, as a warning when annotations were left out."""
        if is_main_process():
            print_log(str(self), logger="current", level=logging.WARNING if self.left_out else logging.INFO)


def _examples(ids: Sequence[Any]) -> str:
    shown = ", ".join(map(str, ids[:_EXAMPLES]))
    return f"annotation {shown}" + (", ..." if len(ids) > _EXAMPLES else "")
