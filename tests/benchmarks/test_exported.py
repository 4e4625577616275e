"""Rows of exported files, and that they fail on a difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from benchmarks.exported import STAGES, benchmark_exported, check_detections
from solo.cli import main
from solo.config import load_config
from solo.errors import ConfigError
from solo.export import ExportOptions, export_model
from solo.inference.instances import Instances
from solo.masks.rle import encode_masks
from tests.helpers.exported import write_random_checkpoint
from tests.helpers.onnx_files import write_detections
from tests.helpers.tiny_benchmark import CONFIG, SMALL_IMAGES, ignore_meshgrid, needs_mmdet

pytestmark = ignore_meshgrid
OPTIONS: dict[str, Any] = dict(repetitions=2, warmup=0, data="drawn", images=1, device="cpu", overrides=SMALL_IMAGES)
NAME = "tiny_solov2"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and an ONNX file of it."""
    pytest.importorskip("onnxscript", reason="needs solov2[onnx]")
    # mmdet's area filter has the factor 1.
    config = load_config(CONFIG, overrides={**SMALL_IMAGES, "model.postprocess.min_area_factor": 1.0})
    checkpoint = write_random_checkpoint(config, tmp_path_factory.mktemp("files") / "weights.pth")
    options = ExportOptions(verify=False, contract="raw")
    return checkpoint, export_model(config, checkpoint, options=options, out=checkpoint.with_suffix(".onnx"))


@pytest.mark.long
def test_rows_beside_the_checkpoint(files: tuple[Path, Path]) -> None:
    checkpoint, path = files
    overrides = {**SMALL_IMAGES, "model.postprocess.min_area_factor": 1.0}
    options = {**OPTIONS, "overrides": overrides}
    rows = benchmark_exported(
        CONFIG, [str(path)], checkpoint=str(checkpoint), rows=["latency", "images_per_second"], **options
    )
    assert [row.name for row in rows] == [f"{kind}_{NAME}_weights.onnx" for kind in ("latency", "images_per_second")]
    assert all(row.equal is True and row.peer is not None for row in rows)


@needs_mmdet
@pytest.mark.long
def test_rows_beside_mmdet(files: tuple[Path, Path]) -> None:
    checkpoint, path = files
    rows = benchmark_exported(CONFIG, [str(path)], checkpoint=str(checkpoint), against="mmdet", **OPTIONS)
    names = [row.name.removeprefix("latency_") for row in rows if row.name.startswith("latency_")]
    subjects = [f"{NAME}_weights.onnx", f"{NAME}_checkpoint"]
    assert names == [*subjects, *(f"{subject}/{stage}" for stage in STAGES for subject in subjects)]
    stages = {row.name.rpartition("/")[2]: row for row in rows if "weights.onnx/" in row.name}
    assert all(stages[stage].ours > 0 and stages[stage].peer for stage in ("load", "network", "decode", "encode"))


@pytest.mark.long
def test_an_exported_file_in_place_of_the_checkpoint(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["benchmark", "infer", CONFIG, "--checkpoint", str(files[1]), "--data", "drawn", "--images", "1"]
    words += ["--iters", "1", "--warmup", "0"]
    assert main(words) == 0
    assert f"latency_{NAME}_weights.onnx" in capsys.readouterr().out
    assert main([*words, "--rows", "rle"]) == 2
    assert "--rows rle: unknown; there are latency, images_per_second, stages" in capsys.readouterr().err


@needs_mmdet
def test_mmdet_has_another_area_filter(tmp_path: Path) -> None:
    model = write_detections(tmp_path / "m.onnx")
    with pytest.raises(
        ConfigError, match=r"m\.onnx has min_area_factor 0\.25 and .*, mmdet 1 and False; export it with"
    ):
        benchmark_exported(CONFIG, [str(model)], checkpoint="weights.pth", against="mmdet", **OPTIONS)


def test_mmdet_needs_weights(files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="--exported with --against needs --checkpoint"):
        benchmark_exported(CONFIG, [str(files[1])], against="mmdet", **OPTIONS)


def detections(*, shift: int = 0, label: int = 0, score: float = 0.9) -> tuple[Instances, InstanceData]:
    masks = np.zeros((1, 32, 32), bool)
    masks[:, 4:24, 4 + shift : 24 + shift] = True
    values = dict(labels=np.array([label]), scores=np.array([score], np.float32))
    found = Instances(
        **values, boxes=np.zeros((1, 4)), rles=encode_masks(masks), image_size=(32, 32), classes=("a", "b")
    )
    tensors = {name: torch.from_numpy(value) for name, value in values.items()}
    return found, InstanceData(**tensors, masks=torch.from_numpy(masks))


@pytest.mark.parametrize("change", [{"shift": 2}, {"label": 1}, {"score": 0.8}])
def test_a_difference_is_an_error(change: dict[str, Any]) -> None:
    expected = detections()[1]
    check_detections("m.onnx", [detections()[0]], [expected])
    with pytest.raises(AssertionError, match=r"m\.onnx: 0 of 1 detections are those of the reference"):
        check_detections("m.onnx", [detections(**change)[0]], [expected])
