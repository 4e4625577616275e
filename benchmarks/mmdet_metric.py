"""mmdet's `CocoMetric` as a peer, with the numbers that it rounds."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any
from unittest import mock

NAMES = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")


class MMDetMetric:
    """The metric, without what it prints.

    Args:
        ann_file: COCO annotation file.
        classes: names of the labels.
        name: "segm" or "bbox".
    """

    def __init__(self, *, ann_file: str, classes: Sequence[str], name: str) -> None:
        from mmdet.evaluation.metrics import CocoMetric

        self._name = name
        with contextlib.redirect_stdout(io.StringIO()):
            self._metric = CocoMetric(ann_file=ann_file, metric=name)
        self._metric.dataset_meta = dict(classes=tuple(classes))
        self._evaluators: list[Any] = []

    def process(self, samples: Sequence[Any]) -> None:
        """Take the results of a batch: samples or dicts with img_id, ori_shape and pred_instances."""
        self._metric.process({}, [_as_dict(sample) for sample in samples])

    def evaluate(self, size: int) -> dict[str, float]:
        """AP over `size` images under our keys, rounded as the metric does it."""
        from mmdet.evaluation.metrics import coco_metric

        evaluators = self._evaluators = []

        class Recorded(coco_metric.COCOeval):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                evaluators.append(self)

        with mock.patch.object(coco_metric, "COCOeval", Recorded), contextlib.redirect_stdout(io.StringIO()):
            metrics: dict[str, float] = dict(self._metric.evaluate(size))
        return metrics

    def exact(self) -> dict[str, float]:
        """The numbers of the last `evaluate` before they were rounded."""
        (evaluator,) = self._evaluators
        values = zip(NAMES, evaluator.stats[: len(NAMES)].tolist(), strict=True)
        return {f"coco/{self._name}_{key}": value for key, value in values}


def _as_dict(sample: Any) -> dict[str, Any]:
    found: dict[str, Any] = sample if isinstance(sample, dict) else sample.to_dict()
    return found
