"""SyncBN of the light Paddle recipes: statistics by hand in one process, and what several need.

Statistics over several processes are torch's own, which computes them on GPUs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, distributed, nn

SYNC = dict(type="SyncBN", requires_grad=True)
# Two images of one channel, 1 x 2 pixels: mean 3, variance 3.5, and 14 / 3 with the divisor 3.
VALUES = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(2, 1, 1, 2)


def norm(channels: int = 1, **options: object) -> nn.SyncBatchNorm:
    layer = build_norm_layer({**SYNC, **options}, channels)[1]
    assert isinstance(layer, nn.SyncBatchNorm)
    return layer


def test_training_by_hand() -> None:
    layer = norm().train()
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(1.0)
    expected = [1 + 2 * (value - 3) / (3.5 + 1e-5) ** 0.5 for value in (1.0, 2.0, 3.0, 6.0)]
    torch.testing.assert_close(layer(VALUES).flatten(), torch.tensor(expected))
    assert layer.running_mean.item() == pytest.approx(0.9 * 0 + 0.1 * 3)
    assert layer.running_var.item() == pytest.approx(0.9 * 1 + 0.1 * 14 / 3)


def test_evaluation_by_hand() -> None:
    """The running statistics, 0.3 and 1.3667 after one batch."""
    layer = norm().train()
    layer(VALUES)
    expected = [(value - 0.3) / (0.9 + 1.4 / 3 + 1e-5) ** 0.5 for value in (1.0, 2.0, 3.0, 6.0)]
    torch.testing.assert_close(layer.eval()(VALUES).flatten(), torch.tensor(expected))


def test_gradient_by_hand() -> None:
    """Of one output y_i: (delta_ij - 1/4 - n_i n_j / 4) / sigma, with n the normalised values."""
    values = VALUES.clone().requires_grad_()
    norm().train()(values).flatten()[3].backward()
    sigma = (3.5 + 1e-5) ** 0.5
    normalised = [(value - 3) / sigma for value in (1.0, 2.0, 3.0, 6.0)]
    expected = [((i == 3) - 0.25 - normalised[3] * normalised[i] / 4) / sigma for i in range(4)]
    assert values.grad is not None
    torch.testing.assert_close(values.grad.flatten(), torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_weights_are_those_of_ordinary_norms(generator: torch.Generator) -> None:
    """Weights of either load into the other, and both then compute the same."""
    plain, sync = nn.BatchNorm2d(3), norm(3)
    for value in plain.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    sync.load_state_dict(plain.state_dict())
    images: Tensor = torch.randn(2, 3, 4, 5, generator=generator)
    torch.testing.assert_close(sync.eval()(images), plain.eval()(images))
    torch.testing.assert_close(sync.train()(images), plain.train()(images))


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
def test_several_processes_need_gpus() -> None:
    with pytest.raises(ValueError, match="expected input tensor to be on GPU"):
        norm().train()(VALUES)
    assert norm().eval()(VALUES).shape == VALUES.shape
