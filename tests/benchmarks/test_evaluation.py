"""The benchmark of evaluation: drawn results, equality to the last bit, and a whole loop on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.drawn_results import draw_results
from benchmarks.evaluation import LOOP_STAGES, benchmark_evaluation
from benchmarks.mmdet_metric import MMDetMetric
from solo.datasets import check_coco_file
from solo.errors import ConfigError
from solo.evaluation import CocoMaskMetric
from tests.benchmarks.test_inference import SMALL_PICTURES
from tests.helpers.tiny_benchmark import CONFIG, ignore_meshgrid, needs_mmdet

pytestmark = ignore_meshgrid
LOOP = ["val_loop", *(f"val_loop/{stage}" for stage in LOOP_STAGES), "images_per_second_val_loop"]
OPTIONS: dict[str, Any] = dict(
    pairs=1,
    warmup=0,
    data="crowded:5",
    images=2,
    result_images=30,
    device="cpu",
    overrides={**SMALL_PICTURES, "val_dataloader.num_workers": 0, "val_dataloader.persistent_workers": False},
)


def test_drawn_results(tmp_path: Path) -> None:
    results = draw_results(tmp_path, num_images=40)
    content = json.loads(results.ann_file.read_text())
    report = check_coco_file(results.ann_file)
    assert len(content["images"]) == len(results.samples) == 40
    assert report.used + sum(annotation["iscrowd"] for annotation in content["annotations"]) >= 0.95 * 7 * 40 * 0.8
    detections = [sample["pred_instances"] for sample in results.samples]
    assert 10 * 40 < sum(len(found.labels) for found in detections) < 18 * 40
    assert all(found.scores.diff().max() <= 0 for found in detections if len(found.labels) > 1)
    metric = CocoMaskMetric(ann_file=str(results.ann_file))
    metric.dataset_meta = dict(classes=results.classes)
    metric.process({}, results.samples)
    metrics = metric.evaluate(40)
    assert 0.1 < metrics["coco/segm_mAP"] < metrics["coco/segm_mAP_50"] < 0.9
    assert min(metrics[f"coco/{name}_mAP_{size}"] for name in ("segm", "bbox") for size in "sml") > 0


def test_a_seed_draws_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    files = []
    for folder in folders:
        folder.mkdir()
        files.append(draw_results(folder, num_images=3, seed=5).ann_file.read_bytes())
    assert files[0] == files[1]


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
def test_another_ap_ends_the_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
