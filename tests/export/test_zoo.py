"""Every shipped config can be exported; one of each family as a verified ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from solo.config import load_config
from solo.export import ExportOptions, export_model
from solo.export.graph import DetectionsGraph
from solo.export.tracing import trace
from tests.helpers.config_snapshots import SHIPPED, skip_without_backbone
from tests.helpers.exported import DATA_DEPENDENT, build_calm, write_random_checkpoint
from tests.helpers.paths import CONFIGS

SIZE = (64, 96)
FAMILIES = [
    "shapes/solov2-nano_shapes.py",
    "solov2/solov2-light_r18_fpn_ms-3x_coco.py",
    "solov2/solov2-light_r50-dcn_fpn_ms-3x_coco.py",
    "solov2_paddle/solov2-light_mobilenetv3_fpn_448-ms-3x_coco.py",
    "solo/solo_r50_fpn_1x_coco.py",
    "solo/decoupled-solo-light_r50_fpn_3x_coco.py",
]

# Configs that differ from another one in the training alone.
SAME_GRAPH = {
    "solo/decoupled-solo_r50_fpn_3x_coco.py": "solo/decoupled-solo_r50_fpn_1x_coco.py",
    "solo/solo_r50_fpn_3x_coco.py": "solo/solo_r50_fpn_1x_coco.py",
    "solov2/solov2_r50_fpn_8xb8-lsj-200e_coco.py": "solov2/solov2_r50_fpn_1x_coco.py",
    "solov2/solov2_r50_fpn_8xb8-lsj-copypaste-200e_coco.py": "solov2/solov2_r50_fpn_1x_coco.py",
    "solov2/solov2_r50_fpn_ms-3x_coco.py": "solov2/solov2_r50_fpn_1x_coco.py",
    "solov2_paddle/solov2_r50_fpn_90k_coco.py": "solov2_paddle/solov2_r50_fpn_1x_coco.py",
    "solov2_paddle/solov2_r50_fpn_ms-270k_coco.py": "solov2_paddle/solov2_r50_fpn_1x_coco.py",
    "solov2_paddle/solov2_r50_fpn_ms-3x_coco.py": "solov2_paddle/solov2_r50_fpn_1x_coco.py",
}
TRAINING_ALONE = {
    "model": ("assigner", "criterion"),
    "grid": ("scale_ranges",),
    "backbone": ("init_cfg", "frozen_stages", "norm_eval"),
    "data_preprocessor": ("padded_sizes",),
}


def graph_settings(name: str) -> dict[str, Any]:
    """What the graph of a config depends on."""
    model = {"model": {**load_config(CONFIGS / name).model}}
    model.update({part: {**model["model"].pop(part)} for part in TRAINING_ALONE if part != "model"})
    return {
        part: {k: v for k, v in options.items() if k not in TRAINING_ALONE[part]} for part, options in model.items()
    }


@pytest.mark.parametrize("name", SAME_GRAPH)
def test_graphs_are_the_same(name: str) -> None:
    assert graph_settings(name) == graph_settings(SAME_GRAPH[name])


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in SAME_GRAPH])
def test_graph_of_every_config(name: str) -> None:
    """The traced graph computes the same, with operators of fixed structure."""
    skip_without_backbone(name)
    model = build_calm(load_config(CONFIGS / name).model)
    graph = DetectionsGraph(model).eval()
    program = trace(graph, size=SIZE, batch=1)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert not [operator for operator in names for part in DATA_DEPENDENT if part in operator]
    images = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    # Of random weights: rounding moves pixels of noisy masks over the threshold, which changes single scores.
    found, expected = program.module()(images)[0], graph(images)[0]
    assert (expected > 0).sum() > 5
    assert (found - expected).abs().mean() < 1e-3


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FAMILIES)
def test_onnx_file_of_each_family(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs solov2[onnx]")
    config = load_config(CONFIGS / name)
    checkpoint = write_random_checkpoint(config, tmp_path / "weights.pth")
    assert export_model(config, checkpoint, options=ExportOptions(size=SIZE, dynamic=True)).is_file()
