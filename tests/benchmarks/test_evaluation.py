"""The benchmark of evaluation: equality to the last bit, and a whole loop on a tiny model."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.evaluation import LOOP_STAGES, benchmark_evaluation
from benchmarks.mmdet_reference import MMDetMetric
from solo.errors import ConfigError
from tests.helpers.tiny_benchmark import CONFIG, SMALL_IMAGES, ignore_meshgrid, needs_mmdet

pytestmark = ignore_meshgrid
LOOP = ["val_loop", *(f"val_loop/{stage}" for stage in LOOP_STAGES), "images_per_second_val_loop"]
OPTIONS: dict[str, Any] = dict(
    repetitions=1,
    warmup=0,
    data="crowded:5",
    images=2,
    result_images=30,
    device="cpu",
    overrides={**SMALL_IMAGES, "val_dataloader.num_workers": 0, "val_dataloader.persistent_workers": False},
)


@needs_mmdet
@pytest.mark.long
def test_rows_beside_mmdet() -> None:
    rows = {row.name: row for row in benchmark_evaluation(CONFIG, against="mmdet", **OPTIONS)}
    assert list(rows) == ["cocoeval", "cocoeval_boxes", *LOOP]
    assert all(row.equal is True and row.peer > 0 for row in rows.values())
    parts = [rows[f"val_loop/{stage}"] for stage in LOOP_STAGES]
    assert sum(row.ours for row in parts) == pytest.approx(rows["val_loop"].ours)
    assert sum(row.peer for row in parts) == pytest.approx(rows["val_loop"].peer)


def test_rows_alone() -> None:
    rows = benchmark_evaluation(CONFIG, batch_size=2, **OPTIONS)
    assert [row.name for row in rows] == ["cocoeval", "cocoeval_boxes", *LOOP]
    assert all(row.peer is None for row in rows)


@needs_mmdet
@pytest.mark.parametrize("name", ["segm", "bbox"])
def test_another_ap_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = MMDetMetric.exact

    def nearly(self: MMDetMetric) -> dict[str, float]:
        return {key: value * (1 + 2**-52) for key, value in exact(self).items()}

    monkeypatch.setattr(MMDetMetric, "exact", nearly)
    row = "cocoeval" if name == "segm" else "cocoeval_boxes"
    with pytest.raises(AssertionError, match=rf"{row}: .* differs from pycocotools'"):
        benchmark_evaluation(CONFIG, against="mmdet", rows=[row], **OPTIONS)


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="--result-images must be at least 1, got 0"):
        benchmark_evaluation(CONFIG, **{**OPTIONS, "result_images": 0})
    with pytest.raises(ConfigError, match="--images must be at least 1, got -1"):
        benchmark_evaluation(CONFIG, **{**OPTIONS, "images": -1})
