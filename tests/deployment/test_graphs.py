"""Which shapes get a graph, with a recording of plain calls instead of CUDA's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from solo.deployment.graphs import GraphedNetwork


class Recorder:
    """Counts what is recorded and replayed; a replay writes into the same output, as CUDA's does."""

    def __init__(self) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replayed = 0

    def __call__(self, network: Any, example: Tensor) -> Any:
        self.recorded.append(tuple(example.shape))

        def replay(inputs: Tensor) -> Any:
            assert inputs.shape == example.shape and inputs.dtype == example.dtype
            self.replayed += 1
            return network(inputs)

        return replay


def doubled(inputs: Tensor) -> tuple[Tensor]:
    return (2 * inputs,)


def test_one_graph_a_shape_up_to_the_limit() -> None:
    recorder = Recorder()
    network = GraphedNetwork(doubled, capture=recorder, max_graphs=2)
    sizes = [(1, 3, 32, 64), (1, 3, 64, 32), (1, 3, 32, 64), (2, 3, 32, 64), (1, 3, 64, 32), (2, 3, 32, 64)]
    for size in sizes:
        inputs = torch.randn(size)
        assert torch.equal(network(inputs)[0], 2 * inputs)
    assert recorder.recorded == [(1, 3, 32, 64), (1, 3, 64, 32)]
    assert recorder.replayed == 4


def test_types_are_told_apart() -> None:
    recorder = Recorder()
    network = GraphedNetwork(doubled, capture=recorder)
    for dtype in (torch.float32, torch.bfloat16):
        assert network(torch.ones(1, 3, 32, 32, dtype=dtype))[0].dtype == dtype
    assert len(recorder.recorded) == 2
