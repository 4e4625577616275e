from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solo.ops import dynamic_conv


def loop_oracle(mask_feats: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Each output pixel on its own: the window around it, zeros outside, times the kernel laid out (E, k, k)."""
    channels, height, width = mask_feats.shape
    logits = torch.zeros(len(kernels), height, width)
    for detection, kernel in enumerate(kernels.view(-1, channels, size, size)):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    for row in range(size):
                        for column in range(size):
                            from_y, from_x = y + row - size // 2, x + column - size // 2
                            if 0 <= from_y < height and 0 <= from_x < width:
                                logits[detection, y, x] += (
                                    kernel[channel, row, column] * mask_feats[channel, from_y, from_x]
                                )
    return logits


def test_one_by_one_by_hand() -> None:
    mask_feats = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[10.0, 0.0], [0.0, -1.0]]])
    kernels = torch.tensor([[1.0, 0.0], [2.0, -1.0]])
    expected = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[-8.0, 4.0], [6.0, 9.0]]])
    assert torch.equal(dynamic_conv(mask_feats, kernels), expected)


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        (1, 1, [[1, 2], [3, 4]]),
        (0, 1, [[0, 0], [1, 2]]),
        (2, 1, [[3, 4], [0, 0]]),
        (1, 0, [[0, 1], [0, 3]]),
        (1, 2, [[2, 0], [4, 0]]),
        (2, 2, [[4, 0], [0, 0]]),
    ],
)
def test_three_by_three_by_hand(row: int, column: int, expected: list[list[int]]) -> None:
    """One weight alone moves the second channel, as a convolution (not its mirror image) does."""
    mask_feats = torch.stack([torch.full((2, 2), 100.0), torch.tensor([[1.0, 2.0], [3.0, 4.0]])])
    kernel = torch.zeros(2, 3, 3)
    kernel[1, row, column] = 1
    assert dynamic_conv(mask_feats, kernel.view(1, -1)).tolist() == [expected]


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4), (5, 2)])
def test_against_loops(size: int, height: int, width: int, generator: torch.Generator) -> None:
    mask_feats = torch.randn(2, height, width, generator=generator)
    kernels = torch.randn(3, 2 * size**2, generator=generator)
    torch.testing.assert_close(dynamic_conv(mask_feats, kernels), loop_oracle(mask_feats, kernels, size))


@pytest.mark.parametrize("size", [1, 3])
def test_gradients_equal_those_of_a_convolution(size: int, generator: torch.Generator) -> None:
    mask_feats = torch.randn(4, 6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(3, 4 * size**2, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 6, 5, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((dynamic_conv(mask_feats, kernels) * weights).sum(), (mask_feats, kernels))
    logits = F.conv2d(mask_feats[None], kernels.view(3, 4, size, size), padding=size // 2)[0]
    expected_gradients = torch.autograd.grad((logits * weights).sum(), (mask_feats, kernels))
    for gradient, expected in zip(ours, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("value", [1.0, float("inf"), float("nan")])
def test_no_kernel_keeps_the_graph_and_gives_zeros(size: int, value: float) -> None:
    mask_feats = torch.full((4, 3, 2), value, requires_grad=True)
    kernels = torch.zeros(0, 4 * size**2, requires_grad=True)
    logits = dynamic_conv(mask_feats, kernels)
    assert logits.shape == (0, 3, 2)
    logits.sum().backward()
    assert torch.equal(mask_feats.grad, torch.zeros(4, 3, 2))
    assert kernels.grad.shape == kernels.shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half(dtype: torch.dtype) -> None:
    logits = dynamic_conv(torch.ones(4, 2, 2, dtype=dtype), torch.ones(1, 4, dtype=dtype))
    assert logits.dtype == dtype
    assert logits.flatten().tolist() == [4.0] * 4


@pytest.mark.parametrize(
    ("channels", "weights"),
    [
        pytest.param(4, 0, id="none"),
        pytest.param(4, 3, id="fewer than the channels"),
        pytest.param(4, 6, id="no multiple"),
        pytest.param(4, 8, id="no square multiple"),
        pytest.param(4, 16, id="even side"),
        pytest.param(3, 28, id="one weight too many"),
    ],
)
def test_kernels_that_do_not_fit(channels: int, weights: int) -> None:
    with pytest.raises(ValueError, match=rf"{weights} weights.*{channels} mask-feature channels.*odd k"):
        dynamic_conv(torch.zeros(channels, 2, 2), torch.zeros(1, weights))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [0, 1, 97])
def test_rows_do_not_depend_on_their_number(
    count: int, memory_format: torch.memory_format, generator: torch.Generator
) -> None:
    """Nor on the layout of the features, and infinities spread alike."""
    mask_feats = torch.randn(1, 64, 23, 31, generator=generator)
    mask_feats[0, 5, 3, 4] = torch.inf
    mask_feats = mask_feats.to(memory_format=memory_format)[0]
    kernels = torch.randn(count, 64, generator=generator)
    logits = dynamic_conv(mask_feats, kernels)
    exact = dynamic_conv(mask_feats.double(), kernels.double())
    torch.testing.assert_close(logits, exact.float(), rtol=1e-5, atol=1e-4)
    assert logits.is_contiguous()
    assert torch.equal(dynamic_conv(mask_feats, kernels[:40]), logits[:40])
    assert dynamic_conv(mask_feats, kernels.requires_grad_()).requires_grad
