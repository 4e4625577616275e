from __future__ import annotations

import torch

from tests.helpers.counters import OperationCounter, peak_bytes


def test_kernels_and_views_are_counted_apart() -> None:
    weights = torch.ones(3, requires_grad=True)
    with OperationCounter() as counter:
        loss = (weights * 2).view(3, 1).sum()
        loss.backward()
    assert counter.kernels["mul"] == 2, "forward and backward"
    assert counter.kernels["sum"] == 1
    assert counter.views["view"] == 2
    assert "mul" not in counter.views


def test_host_syncs_are_named() -> None:
    values = torch.tensor([1.0, 0.0])
    with OperationCounter() as counter:
        values.nonzero()
        values[values > 0]
        values[0].item()
        float(values.sum())
        values[torch.tensor([0])]
    assert counter.host_syncs == ["nonzero", "index", "_local_scalar_dense", "_local_scalar_dense"]


def test_copies_to_a_device() -> None:
    values = torch.ones(3)
    on_device = torch.ones(3, device="meta")
    with OperationCounter() as counter:
        values.to("meta")
        on_device.copy_(values)
        values.to(torch.float64)
        values.copy_(torch.zeros(3))
    assert counter.host_to_device == 2


def test_peak_bytes() -> None:
    before = torch.ones(1000)

    def work() -> torch.Tensor:
        first = before + 1
        second = first.view(10, 100) + 1
        del first
        return second.add_(1) + 1

    assert peak_bytes(work) == 2 * 4000
    assert peak_bytes(lambda: before.view(10, 100)) == 0


def test_peak_bytes_holds_what_autograd_keeps() -> None:
    weights = torch.ones(1000, requires_grad=True)

    def chain(length: int) -> None:
        value = weights
        for _ in range(length):
            value = value.exp()  # whose derivative needs its result
        value.sum().backward()

    def without_gradient() -> None:
        with torch.no_grad():
            chain_of_five = weights.exp().exp().exp().exp().exp()
            chain_of_five.sum()

    assert peak_bytes(without_gradient) == 2 * 4000
    assert 5 * 4000 <= peak_bytes(lambda: chain(5)) <= 7 * 4000 + 100
