from __future__ import annotations

import pytest
import torch

from solo.models.layers import append_coordinates


def test_by_hand() -> None:
    features = torch.full((2, 1, 2, 3), 7.0)
    result = append_coordinates(features)
    assert result.shape == (2, 3, 2, 3)
    assert torch.equal(result[:, :1], features)
    for image in result:
        assert image[1].tolist() == [[-1, 0, 1], [-1, 0, 1]]
        assert image[2].tolist() == [[-1, -1, -1], [1, 1, 1]]


def test_one_pixel() -> None:
    assert append_coordinates(torch.zeros(1, 1, 1, 1)).flatten().tolist() == [0, -1, -1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_of_the_features(dtype: torch.dtype) -> None:
    result = append_coordinates(torch.zeros(1, 2, 5, 37, dtype=dtype))
    assert result.dtype == dtype
    assert torch.equal(result, append_coordinates(torch.zeros(1, 2, 5, 37)).to(dtype))


def test_gradient_reaches_the_features() -> None:
    features = torch.zeros(1, 2, 3, 3, requires_grad=True)
    append_coordinates(features).sum().backward()
    assert torch.equal(features.grad, torch.ones(1, 2, 3, 3))
