"""What weights are made for, told by their shapes, and the config that has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.fitting import describe, differences, fitting_configs, model_on_meta, shipped_configs
from solo.config import load_config
from tests.helpers.paths import CONFIGS

R50 = CONFIGS / "solov2" / "solov2_r50_fpn_1x_coco.py"
LIGHT_R18 = CONFIGS / "solov2" / "solov2-light_r18_fpn_ms-3x_coco.py"


def shapes(path: Path) -> dict[str, torch.Tensor]:
    return model_on_meta(load_config(path)).state_dict()


def test_model_on_meta_needs_no_pretrained_file_and_takes_no_memory() -> None:
    assert all(tensor.is_meta for tensor in shapes(R50).values())


def test_describe() -> None:
    assert describe(shapes(R50)) == {
        "backbone": "ResNet-50, 7x7 stem, 2048 channels at the top",
        "towers": "4 x 512",
        "masks": "dynamic kernels (SOLOv2)",
        "classes": "80",
        "mask features": "256",
        "dynamic kernel": "256",
    }
    assert describe(shapes(LIGHT_R18))["backbone"] == "ResNet-18, 7x7 stem, 512 channels at the top"
    assert describe({}) == {}


@pytest.mark.parametrize(
    ("offsets", "kernel", "bias", "expected"),
    [
        (18, 3, False, "DCN (v1) in 2"),
        (27, 3, False, "DCNv2 in 2"),
        (27, 3, True, "DCNv2 with bias in 2"),
        (3, 1, False, "DCNv2 in 2"),
        (54, 3, False, "54 offsets in 2"),
    ],
)
def test_versions_of_deformable_convolution(offsets: int, kernel: int, bias: bool, expected: str) -> None:
    prefix = "head.category_tower.2.conv."
    weights = {
        prefix + "weight": torch.empty(8, 8, kernel, kernel),
        prefix + "conv_offset.weight": torch.empty(offsets, 8, kernel, kernel),
    }
    if bias:
        weights[prefix + "bias"] = torch.empty(8)
    assert describe(weights)["deformable towers"] == expected


def test_differences_name_both_sides() -> None:
    lines = differences(shapes(LIGHT_R18), shapes(R50))
    assert lines[1:] == [
        "towers: 2 x 256 in the weights, 4 x 512 in the config",
        "mask features: 128 in the weights, 256 in the config",
        "dynamic kernel: 128 in the weights, 256 in the config",
    ]
    assert differences(shapes(R50), shapes(R50)) == []


def test_groups_of_a_resnext_are_told() -> None:
    weights = {f"backbone.layer{stage}.0.conv1.weight": torch.empty(1) for stage in (1, 2, 3, 4)}
    weights |= {
        "backbone.layer1.0.conv2.weight": torch.empty(256, 4, 3, 3),
        "backbone.layer1.0.conv3.weight": torch.empty(1),
    }
    assert describe(weights)["backbone"].startswith("residual blocks [1, 1, 1, 1], 64 groups of 4, 7x7 stem")


def test_fitting_configs() -> None:
    configs = shipped_configs(R50)
    assert len(configs) >= 10
    assert not any("_base_" in path.parts for path in configs)
    assert fitting_configs(shapes(LIGHT_R18), configs, dialect=DIALECTS["mmdet"]) == [LIGHT_R18]
    # The same shapes with other images: only the caffe-style config will do.
    found = fitting_configs(shapes(R50), configs, dialect=DIALECTS["adelaidet"])
    assert [path.parent.name for path in found] == ["solov2_adelaidet"]


def test_no_folder_of_configs(tmp_path: Path) -> None:
    assert shipped_configs(tmp_path / "mine.py") == []


def test_a_config_that_cannot_be_built_fits_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("model = dict(type='Nothing', backbone=dict())\n")
    assert fitting_configs(shapes(R50), [tmp_path / "broken.py"], dialect=DIALECTS["mmdet"]) == []
