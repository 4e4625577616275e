"""`torch.export` of the graphs: any size and batch, and operators of fixed structure alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.export import ExportedProgram

from solo.errors import ExportError
from solo.export.graph import DetectionsGraph, ExportedGraph, RawGraph
from solo.export.tracing import trace
from tests.helpers.exported import DATA_DEPENDENT, operators
from tests.helpers.tiny_model import build_random, tiny_config, tiny_solo_config

DEFORMABLE = dict(head=dict(dcn=dict(type="DCNv2"), dcn_convs=(0,)))
CONFIGS: dict[str, dict[str, Any]] = {
    "solov2": tiny_config(),
    "3x3 kernels": tiny_config(kernel_size=3),
    "deformable": tiny_config(**DEFORMABLE),
    **{kind: tiny_solo_config(kind) for kind in ("solo", "decoupled", "light")},
}


def check_same(program: ExportedProgram, graph: ExportedGraph, *shapes: tuple[int, int, int]) -> None:
    """Compare the program with the graph for images of these (B, H, W)."""
    module = program.module()
    for batch, height, width in shapes:
        images = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)
        with torch.no_grad():
            for found, expected in zip(module(images), graph(images), strict=True):
                tolerance = 1.0 if found.dtype == torch.uint8 else 1e-4  # a probability on the edge of two bytes
                torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k == "solov2" else pytest.mark.long) for k in CONFIGS])
def test_any_size_and_batch(kind: str) -> None:
    graph = DetectionsGraph(build_random(CONFIGS[kind])).eval()
    program = trace(graph, size=None, batch=None)
    names = operators(program)
    assert not [name for name in names for part in DATA_DEPENDENT if part in name]
    check_same(program, graph, (1, 96, 96), (2, 160, 96), (4, 96, 128))


def test_a_torch_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("of torch")

    monkeypatch.setattr("torch.export.export", fail)
    graph = RawGraph(build_random(tiny_config())).eval()
    monkeypatch.setattr("solo.export.tracing.OLDEST_TESTED_TORCH", "99.1")
    with pytest.raises(ExportError, match=r"torch \S+ cannot trace this model \(AssertionError\); .* torch 99\.1 and"):
        trace(graph, size=None, batch=None)
    monkeypatch.setattr("solo.export.tracing.OLDEST_TESTED_TORCH", "1.0")
    with pytest.raises(AssertionError, match="of torch"):
        trace(graph, size=None, batch=None)


def test_one_size_of_raw_outputs() -> None:
    graph = RawGraph(build_random(tiny_config())).eval()
    program = trace(graph, size=(32, 96), batch=1)
    check_same(program, graph, (1, 32, 96))
    with pytest.raises(Exception, match="96"):
        program.module()(torch.zeros(1, 3, 32, 64, dtype=torch.uint8))
