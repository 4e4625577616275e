"""Conversion as a user starts it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.state_dict import convert_from_ours
from solo.config import load_config
from solo.registry import MODELS
from tests.helpers.commands import run_tool
from tests.helpers.paths import CONFIGS

NANO = CONFIGS / "shapes" / "solov2-nano_shapes.py"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    weights = convert_from_ours(MODELS.build(load_config(NANO).model).state_dict(), dialect=DIALECTS["wxinlong"])[0]
    torch.save({"state_dict": weights, "meta": {"CLASSES": ("a", "b", "c", "d")}}, tmp_path / "SOLOv2_NANO.pth")
    return tmp_path / "SOLOv2_NANO.pth"


def test_there_and_back(source: Path, tmp_path: Path) -> None:
    done = run_tool("convert_checkpoint.py", source, "ours.pth", "--config", NANO, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["source"].startswith(f"{source} (wxinlong, sha256 ")
    tensors = MODELS.build(load_config(NANO).model).state_dict().values()
    assert lines["mapped"] == f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors):,} numbers"
    assert lines["note"] == "class names are those of the source"
    assert (tmp_path / "ours.pth.report.json").is_file()
    back = run_tool("convert_checkpoint.py", "ours.pth", "mm.pth", "--config", NANO, "--to", "mmdet", folder=tmp_path)
    assert back.returncode == 0, back.stderr
    assert "mask_head.conv_cls.weight" in torch.load(tmp_path / "mm.pth", weights_only=True)["state_dict"]


def test_a_misfit_is_an_error_with_advice(source: Path, tmp_path: Path) -> None:
    config = CONFIGS / "solov2" / "solov2_r50_fpn_1x_coco.py"
    done = run_tool("convert_checkpoint.py", source, "ours.pth", "--config", config, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: checkpoint {source} (WXinlong/SOLO) does not fit {config}:\n")
    assert "solov2-nano_shapes.py" in done.stderr
    assert "Traceback" not in done.stderr
