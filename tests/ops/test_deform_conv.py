from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.ops import deform_conv2d
from tests.helpers.counters import OperationCounter
from tests.helpers.deform_conv_oracle import loop_oracle, tensors
from tests.helpers.exported import needs_tested_torch

GEOMETRIES = [
    pytest.param(dict(), id="plain"),
    pytest.param(dict(padding=1), id="padding"),
    pytest.param(dict(stride=2, padding=1), id="stride"),
    pytest.param(dict(padding=2, dilation=2), id="dilation"),
    pytest.param(dict(stride=(1, 2), padding=(2, 0), dilation=(2, 1)), id="each axis its own"),
    pytest.param(dict(padding=1, groups=2), id="groups"),
    pytest.param(dict(padding=1, deform_groups=2), id="deform_groups"),
    pytest.param(dict(padding=1, groups=4, deform_groups=2), id="more groups than deform_groups"),
    pytest.param(dict(padding=1, groups=2, deform_groups=4), id="more deform_groups than groups"),
]


# ------------------------------------------------------------------------------------------------------------- by hand
def test_half_a_pixel_by_hand() -> None:
    inputs = torch.tensor([[[[1.0, 3.0], [5.0, 11.0]]]])
    offsets = torch.zeros(1, 2, 2, 2)
    offsets[0, :, 0, 0] = torch.tensor([0.5, 0.5])  # between all four
    offsets[0, :, 0, 1] = torch.tensor([0.25, 0.0])  # a quarter down
    offsets[0, :, 1, 0] = torch.tensor([0.0, 0.25])  # a quarter to the right
    offsets[0, :, 1, 1] = torch.tensor([0.5, 0.5])  # three of the four are outside
    result = deform_conv2d(inputs, torch.full((1, 1, 1, 1), 2.0), offsets)
    assert result.tolist() == [[[[10.0, 10.0], [13.0, 5.5]]]]


@pytest.mark.parametrize(
    ("offset", "factor"),
    [
        (-3.5, 0.0),
        (-3.0, 0.0),
        (-2.75, 0.25),
        (-2.0, 1.0),
        (0.0, 1.0),
        (1.0, 1.0),
        (1.25, 0.75),
        (2.0, 0.0),
        (2.5, 0.0),
        (1e30, 0.0),
        (-1e30, 0.0),
        (math.inf, 0.0),
        (-math.inf, 0.0),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_borders(offset: float, factor: float, axis: int) -> None:
    """From pixel 2 of 4: outside counts as zero, and a sample that is partly outside is blended with it."""
    offsets = torch.zeros(1, 2, 4, 4)
    offsets[0, axis] = offset
    offsets.requires_grad_()
    inputs = torch.ones(1, 1, 4, 4, requires_grad=True)
    result = deform_conv2d(inputs, torch.ones(1, 1, 1, 1), offsets)
    assert result[0, 0, 2, 2].item() == factor
    result.sum().backward()
    assert offsets.grad.isfinite().all() and inputs.grad.isfinite().all()


def test_nan_is_not_hidden() -> None:
    """Training steps that overflow are found by their NaN; no index may come of it."""
    offsets = torch.zeros(1, 2, 3, 3)
    offsets[0, 0, 1, 1] = math.nan
    result = deform_conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 1, 1), offsets)
    assert result.isnan().nonzero().tolist() == [[0, 0, 1, 1]]


def test_order_of_the_offsets() -> None:
    """Down before right, tap by tap in reading order, one deformable group after the other."""
    inputs = torch.arange(50.0).view(1, 2, 5, 5)
    offsets = torch.zeros(1, 36, 3, 3)
    offsets[0, 18 + 2 * 5] = 1.0  # second group, sixth tap: (row 1, column 2)
    offsets[0, 18 + 2 * 5 + 1] = -2.0
    for group, tap, moved in [(1, (1, 2), True), (1, (1, 1), False), (1, (2, 1), False), (0, (1, 2), False)]:
        weight = torch.zeros(1, 2, 3, 3)
        weight[0, group, tap[0], tap[1]] = 1.0
        result = deform_conv2d(inputs, weight, offsets, deform_groups=2)[0, 0, 1, 1].item()
        row, column = 1 + tap[0] + moved, 1 + tap[1] - 2 * moved
        assert result == 25 * group + 5 * row + column


# -------------------------------------------------------------------------------------------- against a convolution
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_without_offsets_it_is_a_convolution(geometry: dict[str, Any], generator: torch.Generator) -> None:
    arguments = tensors(generator, dtype=torch.float32, size=(9, 8), **geometry)
    offsets = torch.zeros_like(arguments["offsets"])
    result = deform_conv2d(arguments["inputs"], arguments["weight"], offsets, bias=arguments["bias"], **geometry)
    convolution = {name: value for name, value in geometry.items() if name != "deform_groups"}
    expected = F.conv2d(arguments["inputs"], arguments["weight"], arguments["bias"], **convolution)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert result.is_contiguous()


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    moves=st.tuples(st.integers(-8, 8), st.integers(-8, 8)),
    seed=st.integers(0, 99),
)
def test_whole_offsets_move_the_window(
    size: tuple[int, int], kernel_size: tuple[int, int], stride: int, moves: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    geometry = dict(stride=stride, padding=1)
    arguments = tensors(generator, size=size, kernel_size=kernel_size, **geometry)
    offsets = torch.tensor(moves, dtype=torch.float64).repeat(math.prod(kernel_size))[:, None, None]
    offsets = offsets.expand_as(arguments["offsets"])
    result = deform_conv2d(arguments["inputs"], arguments["weight"], offsets, **geometry)
    # The same window of a wide frame of zeros, moved.
    margin = 10
    top, left = (margin + move - 1 for move in moves)
    window = F.pad(arguments["inputs"], [margin] * 4)[..., top : top + size[0] + 2, left : left + size[1] + 2]
    torch.testing.assert_close(result, F.conv2d(window, arguments["weight"], stride=stride))


# ------------------------------------------------------------------------------------------------------ against loops
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("modulated", [False, True])
def test_against_loops(geometry: dict[str, Any], modulated: bool, generator: torch.Generator) -> None:
    arguments = tensors(generator, **geometry)
    if not modulated:
        arguments["mask"] = None
    torch.testing.assert_close(deform_conv2d(**arguments, **geometry), loop_oracle(**arguments, **geometry))


@pytest.mark.parametrize("kernel_size", [(1, 1), (1, 3), (3, 2)])
def test_kernels_of_other_sizes(kernel_size: tuple[int, int], generator: torch.Generator) -> None:
    arguments = tensors(generator, kernel_size=kernel_size)
    torch.testing.assert_close(deform_conv2d(**arguments), loop_oracle(**arguments))


@pytest.mark.parametrize("size", [(1, 1), (1, 7)])
def test_tiny_inputs(size: tuple[int, int], generator: torch.Generator) -> None:
    arguments = tensors(generator, size=size, padding=1)
    torch.testing.assert_close(deform_conv2d(**arguments, padding=1), loop_oracle(**arguments, padding=1))


@pytest.mark.parametrize(
    "geometry", [dict(padding=1), dict(stride=2, padding=2, dilation=2, groups=2, deform_groups=2)]
)
def test_gradients(geometry: dict[str, Any], generator: torch.Generator) -> None:
    """Of the inputs, the weight, the offsets, the mask and the bias, against differences."""
    arguments = tensors(generator, batch=2, size=(4, 5), **geometry)
    names = list(arguments)
    leaves = [arguments[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *values: deform_conv2d(**dict(zip(names, values, strict=True)), **geometry), leaves
    )


# ----------------------------------------------------------------------------------------------------- dtypes, batches
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-2), (torch.bfloat16, 1e-1)])
def test_half_precision(dtype: torch.dtype, tolerance: float, generator: torch.Generator) -> None:
    arguments = {name: tensor.to(dtype) for name, tensor in tensors(generator, padding=1).items()}
    expected = loop_oracle(**{name: tensor.double() for name, tensor in arguments.items()}, padding=1)
    leaves = [tensor.requires_grad_() for tensor in arguments.values()]
    result = deform_conv2d(**arguments, padding=1)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)
    result.sum().backward()
    assert all(leaf.grad.dtype == dtype and leaf.grad.isfinite().all() for leaf in leaves)


def test_half_precision_keeps_positions_apart() -> None:
    """bfloat16 cannot tell column 999 from 1000; the positions must not be kept in it."""
    inputs = (torch.arange(1200) % 2).to(torch.bfloat16).view(1, 1, 1, 1200)
    offsets = torch.zeros(1, 2, 1, 1200, dtype=torch.bfloat16)
    assert torch.equal(deform_conv2d(inputs, torch.ones(1, 1, 1, 1, dtype=torch.bfloat16), offsets), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_gives_what_a_convolution_gives(dtype: torch.dtype, generator: torch.Generator) -> None:
    arguments = tensors(generator, dtype=dtype, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = deform_conv2d(**arguments, padding=1)
        convolved = F.conv2d(arguments["inputs"], arguments["weight"], padding=1)
    assert result.dtype == convolved.dtype
    torch.testing.assert_close(result.to(dtype), deform_conv2d(**arguments, padding=1), rtol=0.1, atol=0.1)


def test_offsets_of_half_precision_with_full_features(generator: torch.Generator) -> None:
    """Under autocast the convolution that predicts the offsets gives half precision."""
    arguments = tensors(generator, dtype=torch.float32, padding=1)
    halves = {name: arguments[name].half() for name in ("offsets", "mask")}
    expected = deform_conv2d(**{**arguments, **{name: half.float() for name, half in halves.items()}}, padding=1)
    assert torch.equal(deform_conv2d(**{**arguments, **halves}, padding=1), expected)


def test_empty_batch(generator: torch.Generator) -> None:
    arguments = tensors(generator, batch=0, padding=1)
    leaves = [tensor.requires_grad_() for tensor in arguments.values()]
    result = deform_conv2d(**arguments, padding=1)
    assert result.shape == (0, 4, 5, 6)
    result.sum().backward()
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in leaves)


def test_channels_last_changes_nothing(generator: torch.Generator) -> None:
    arguments = tensors(generator, padding=1)
    expected = deform_conv2d(**arguments, padding=1)
    arguments["inputs"] = arguments["inputs"].contiguous(memory_format=torch.channels_last)
    assert torch.equal(deform_conv2d(**arguments, padding=1), expected)


def test_shapes_without_values(generator: torch.Generator) -> None:
    """What counts operations or memory runs models on the meta device."""
    arguments = {name: tensor.to("meta") for name, tensor in tensors(generator, stride=2, padding=1).items()}
    assert deform_conv2d(**arguments, stride=2, padding=1).shape == (2, 4, 3, 3)


def test_images_do_not_mix(generator: torch.Generator) -> None:
    arguments = tensors(generator, batch=3, padding=1)
    together = deform_conv2d(**arguments, padding=1)
    for image in range(3):
        alone = {name: t if name in ("weight", "bias") else t[image : image + 1] for name, t in arguments.items()}
        torch.testing.assert_close(deform_conv2d(**alone, padding=1), together[image : image + 1])


# ------------------------------------------------------------------------------------------------------ costs, export
def test_the_host_never_waits(generator: torch.Generator) -> None:
    arguments = {name: tensor.requires_grad_() for name, tensor in tensors(generator, padding=1).items()}
    with OperationCounter() as syncs:
        deform_conv2d(**arguments, padding=1).sum().backward()
    assert syncs.host_syncs == []


def test_samples_are_kept_once_for_the_backward(generator: torch.Generator) -> None:
    """Neither the four pixels of each sample nor the samples before the mask: these would be the largest by far."""
    arguments = tensors(generator, batch=1, channels=128, size=(16, 16), dtype=torch.float32, padding=1)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        deform_conv2d(**{name: tensor.requires_grad_() for name, tensor in arguments.items()}, padding=1)
    samples = 9 * 128 * 16 * 16 * 4
    assert max(kept.values()) == samples
    assert sum(kept.values()) <= 1.6 * samples


class _Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predictor = torch.nn.Conv2d(4, 27, 3, padding=1)
        self.weight = torch.nn.Parameter(torch.randn(6, 4, 3, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        offsets, mask = self.predictor(inputs).split([18, 9], dim=1)
        return deform_conv2d(inputs, self.weight, offsets, mask=mask.sigmoid(), padding=1)


@needs_tested_torch
def test_export_with_sides_that_vary(generator: torch.Generator) -> None:
    layer = _Layer().eval()
    sides = {axis: torch.export.Dim(name, min=2, max=64) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    example = torch.randn(2, 4, 6, 7, generator=generator)
    exported = torch.export.export(layer, (example,), dynamic_shapes=({**sides},)).module()
    with torch.no_grad():
        for size in ((2, 4, 6, 7), (3, 4, 9, 5)):
            inputs = torch.randn(size, generator=generator)
            torch.testing.assert_close(exported(inputs), layer(inputs))


# ----------------------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(offsets=torch.zeros(2, 27, 5, 6)), r"offsets must be \(2, 18, 5, 6\), got \(2, 27, 5, 6\)"),
        (dict(offsets=torch.zeros(2, 18, 3, 4)), r"offsets must be \(2, 18, 5, 6\), got \(2, 18, 3, 4\)"),
        (dict(mask=torch.zeros(2, 18, 5, 6)), r"mask must be \(2, 9, 5, 6\), got \(2, 18, 5, 6\)"),
        (dict(deform_groups=3), "4 input channels cannot be split into 3 deform_groups"),
        (dict(groups=2), r"weight \(4, 4, 3, 3\) with groups=2 does not fit 4 input channels"),
        (dict(weight=torch.zeros(4, 3, 3, 3)), r"weight \(4, 3, 3, 3\) with groups=1 does not fit 4 input channels"),
        (dict(weight=torch.zeros(3, 2, 3, 3), groups=2), "output channels that 2 divides"),
        (dict(dilation=9), r"inputs \(2, 4, 5, 6\) are too small for a kernel \(4, 4, 3, 3\) with dilation=\(9, 9\)"),
    ],
)
def test_shapes_that_do_not_fit(changes: dict[str, Any], message: str, generator: torch.Generator) -> None:
    arguments = tensors(generator, padding=1)
    with pytest.raises(ValueError, match=message):
        deform_conv2d(**{**arguments, "padding": 1, **changes})
