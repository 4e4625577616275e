"""The benchmark of the data: its rows, and that it fails on another sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import loading
from benchmarks.datasets import write_crowded
from benchmarks.loading import _SampleCase, benchmark_data
from benchmarks.mmdet_reference import mmdet_pipeline
from solo.errors import ConfigError
from solo.registry import DATASETS
from tests.helpers.tiny_benchmark import CONFIG, needs_mmdet

OPTIONS: dict[str, Any] = dict(repetitions=2, warmup=1, data="crowded:4", images=2, batch_size=2, workers=[0])
TRANSFORMS = ["LoadImage", "LoadInstances", "RandomFlip", "PackSample", "other"]
NAMES = ["sample", *(f"transform/{name}" for name in TRANSFORMS), "sample_bytes", "loader_0_workers"]


@needs_mmdet
@pytest.mark.long
def test_rows_beside_mmdet() -> None:
    rows = {row.name: row for row in benchmark_data(CONFIG, against="mmdet", **OPTIONS)}
    assert list(rows) == NAMES
    assert all(row.equal is True and row.ours > 0 and row.peer > 0 for row in rows.values())


@needs_mmdet
def test_validation_beside_mmdet() -> None:
    rows = benchmark_data(CONFIG, against="mmdet", split="val", rows=["transform"], **OPTIONS)
    found = {row.name.removeprefix("transform/"): row for row in rows}
    assert set(found) == {"LoadImage", "LoadInstances", "PackSample", "other"}
    assert found["LoadInstances"].ours == 0 < found["LoadInstances"].peer, "mmdet loads masks that it does not read"


def test_rows_alone() -> None:
    rows = benchmark_data(CONFIG, **{**OPTIONS, "workers": [1]})
    assert [row.name for row in rows] == [*NAMES[:-1], "loader_1_workers"]


@needs_mmdet
def test_another_sample_fails(tmp_path: Path) -> None:
    ann_file, images = write_crowded(tmp_path, num_objects=3)
    pipeline = [dict(type="LoadImage"), dict(type="LoadInstances"), dict(type="PackSample")]
    options = dict(type="CocoInstances", ann_file=str(ann_file), data_prefix=dict(img=str(images)))
    resize = dict(type="mmdet.Resize", scale=(64, 64))
    datasets = [
        DATASETS.build({**options, "pipeline": steps})
        for steps in (pipeline, mmdet_pipeline([*pipeline[:2], resize, pipeline[2]]))
    ]
    with pytest.raises(AssertionError, match="sample 0 differs from mmdet's"):
        _SampleCase(datasets, 1)


def test_workers_up_to_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    assert loading._worker_counts() == [0, 1, 2, 4]


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="--workers must be at least 0, got -1"):
        benchmark_data(CONFIG, **{**OPTIONS, "workers": [-1]})
