"""A network recorded as CUDA graphs, one for each shape of its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

Network: TypeAlias = Callable[[Tensor], Any]
Capture: TypeAlias = Callable[[Network, Tensor], Network]

MAX_GRAPHS = 16
"""Graphs hold the memory of all that the network computes: shapes after these many run without."""

WARM_UP_CALLS = 3


class GraphedNetwork:
    """Runs a network through recorded graphs.

    A graph holds for one shape. Images are not padded further to share graphs: the grid cells divide the padded image,
    hence another padding gives other detections. Images of one camera have one shape; a data set with photos of all
    formats has dozens, of which the first `max_graphs` that come get a graph.

    Args:
        network: from an image batch (B, 3, H, W) to tensors in tuples, lists or dicts; its control flow may depend on
            the shape alone.
        capture: records a network for an example of its input and gives what replays it.
        max_graphs: how many shapes get a graph.
    """

    def __init__(self, network: Network, *, capture: Capture | None = None, max_graphs: int = MAX_GRAPHS) -> None:
        self._network = network
        self._capture = capture or record_cuda_graph
        self._max_graphs = max_graphs
        self._graphs: dict[tuple[Any, ...], Network] = {}

    def __call__(self, inputs: Tensor) -> Any:
        """The network's outputs; the caller may keep them."""
        key = (tuple(inputs.shape), inputs.dtype)
        if key not in self._graphs:
            if len(self._graphs) >= self._max_graphs:
                return self._network(inputs)
            self._graphs[key] = self._capture(self._network, inputs)
        return self._graphs[key](inputs)


def record_cuda_graph(network: Network, example: Tensor) -> Network:
    """Record the network's launches for inputs like the example.

    Args:
        network: what runs; it must not wait for the device.
        example: (B, 3, H, W) on a GPU.
    """
    static_input = example.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    # cuDNN chooses its algorithms, and buffers are made, before the recording.
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_CALLS):
            network(static_input)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        static_outputs = network(static_input)

    def replay(inputs: Tensor) -> Any:
        static_input.copy_(inputs)
        graph.replay()
        # The next replay writes to the same memory.
        return tree_map_only(Tensor, Tensor.clone, static_outputs)

    return replay
