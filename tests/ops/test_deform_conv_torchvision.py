"""Where torchvision is installed, its kernel computes on a GPU."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from solo.ops import deform_conv, deform_conv2d
from tests.helpers.deform_conv_oracle import tensors


class _OnGPU(Tensor):
    """A tensor that says it lies on a GPU."""

    is_cuda = True


@pytest.fixture
def torchvision_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A torchvision whose operator notes its arguments and answers with ours."""
    calls: list[dict[str, Any]] = []

    def kernel(inputs, offset, weight, bias=None, stride=1, padding=0, dilation=1, mask=None):
        calls.append(dict(dtype=inputs.dtype, offset=offset.dtype, mask=mask, stride=stride, dilation=dilation))
        plain = [None if t is None else t.as_subclass(Tensor) for t in (inputs, weight, offset, mask, bias)]
        return deform_conv2d(
            *plain[:3], mask=plain[3], bias=plain[4], stride=stride, padding=padding, dilation=dilation
        )

    ops = types.ModuleType("torchvision.ops")
    ops.deform_conv2d = kernel
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.ops", ops)
    deform_conv._torchvision_kernel.cache_clear()
    yield calls
    deform_conv._torchvision_kernel.cache_clear()


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.float16, torch.float32)],
)
def test_torchvision_computes_on_a_gpu(torchvision_kernel, dtype, computed, generator) -> None:
    geometry = dict(stride=(1, 2), padding=(1, 0), dilation=(1, 2))
    arguments = {name: tensor.to(dtype) for name, tensor in tensors(generator, **geometry).items()}
    expected = deform_conv2d(**arguments, **geometry)
    assert torchvision_kernel == [], "plain torch on a CPU"
    on_gpu = {**arguments, "inputs": arguments["inputs"].as_subclass(_OnGPU)}
    result = deform_conv2d(**on_gpu, **geometry)
    (call,) = torchvision_kernel
    assert (call["dtype"], call["offset"], call["stride"], call["dilation"]) == (computed, computed, (1, 2), (1, 2))
    assert torch.equal(call["mask"], arguments["mask"].to(computed))
    assert result.dtype == dtype
    torch.testing.assert_close(result.as_subclass(Tensor), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "failure", [ImportError("no such module"), RuntimeError("operator torchvision::nms does not exist")]
)
def test_a_torchvision_that_does_not_load(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, generator: torch.Generator
) -> None:
    attempts = []

    def import_module(name: str) -> None:
        attempts.append(name)
        raise failure

    monkeypatch.setattr("importlib.import_module", import_module)
    deform_conv._torchvision_kernel.cache_clear()
    arguments = tensors(generator)
    on_gpu = {**arguments, "inputs": arguments["inputs"].as_subclass(_OnGPU)}
    for _ in range(2):
        assert torch.equal(deform_conv2d(**on_gpu).as_subclass(Tensor), deform_conv2d(**arguments))
    deform_conv._torchvision_kernel.cache_clear()
    assert attempts == ["torchvision.ops"], "looked for once"
