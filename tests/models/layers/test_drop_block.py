"""DropBlock: rates by hand, squares against a slow loop, the factor, and when it does nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from solo.models.layers import DropBlock
from tests.helpers.counters import OperationCounter


def fixed_draws(monkeypatch: pytest.MonkeyPatch, centres: Tensor) -> None:
    """Make the uniform draws 0 at the centres and 1 elsewhere."""
    monkeypatch.setattr(torch, "rand", lambda *_, **__: 1.0 - centres.float())


def test_rate_by_hand() -> None:
    """0.1 / 9 * 12 / 10 * 10 / 8."""
    assert DropBlock(block_size=3, keep_prob=0.9).centre_rate(12, 10) == pytest.approx(0.1 / 9 * 1.2 * 1.25)
    assert DropBlock(block_size=1, keep_prob=0.75).centre_rate(4, 4) == pytest.approx(0.25)


def test_one_square_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A centre in the corner drops four of the sixteen values; the rest grows by 32 / 28: both channels count."""
    centres = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    centres[0, 1, 0, 0] = True
    fixed_draws(monkeypatch, centres)
    output = DropBlock().train()(torch.ones(1, 2, 4, 4))
    expected = torch.full((1, 2, 4, 4), 32 / 28)
    expected[0, 1, :2, :2] = 0
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("block_size", [1, 3, 5])
def test_squares_against_a_loop(block_size: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    centres = torch.rand(2, 3, 9, 7, generator=generator) < 0.03
    kept = torch.ones(2, 3, 9, 7)
    radius = block_size // 2
    for image, channel, row, column in centres.nonzero().tolist():
        rows = slice(max(0, row - radius), row + radius + 1)
        kept[image, channel, rows, max(0, column - radius) : column + radius + 1] = 0
    fixed_draws(monkeypatch, centres)
    features = torch.randn(2, 3, 9, 7, generator=generator)
    output = DropBlock(block_size=block_size).train()(features)
    torch.testing.assert_close(output, features * kept * kept.numel() / kept.sum())


def test_share_and_mean_of_a_large_map() -> None:
    """Inside goes what has one of nine centres around it, 1 - (1 - rate)^9 = 10.6 %; the border has fewer."""
    torch.manual_seed(0)
    output = DropBlock().train()(torch.ones(4, 64, 40, 40))
    assert 0.1 < (output == 0).float().mean().item() < 0.107
    assert output.mean().item() == pytest.approx(1, abs=1e-4)


def test_does_nothing_in_evaluation_or_when_all_is_kept(generator: torch.Generator) -> None:
    features = torch.randn(1, 2, 5, 5, generator=generator)
    assert DropBlock().eval()(features) is features
    assert DropBlock(keep_prob=1).train()(features) is features


def test_nothing_left_is_zero_not_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed_draws(monkeypatch, torch.ones(1, 1, 3, 3, dtype=torch.bool))
    assert torch.equal(DropBlock().train()(torch.ones(1, 1, 3, 3)), torch.zeros(1, 1, 3, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays(dtype: torch.dtype) -> None:
    output = DropBlock().train()(torch.ones(1, 8, 12, 12, dtype=dtype))
    assert output.dtype == dtype
    assert output.isfinite().all()


def test_gradient_reaches_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    centres = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    centres[0, 0, 2, 2] = True
    fixed_draws(monkeypatch, centres)
    features = torch.ones(1, 1, 5, 5, requires_grad=True)
    DropBlock().train()(features).sum().backward()
    assert features.grad is not None
    assert (features.grad == 0).sum() == 9


@pytest.mark.parametrize("options", [dict(block_size=2), dict(block_size=0), dict(keep_prob=0.0), dict(keep_prob=1.1)])
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="block_size must be odd and keep_prob in"):
        DropBlock(**options)  # type: ignore[arg-type]


def test_maps_smaller_than_a_square() -> None:
    with pytest.raises(ValueError, match="a map of 2 x 8 cannot lose squares with a side of 3"):
        DropBlock().train()(torch.ones(1, 1, 2, 8))


def test_the_host_does_not_wait(generator: torch.Generator) -> None:
    features = torch.randn(1, 2, 8, 8, generator=generator)
    with OperationCounter() as syncs:
        DropBlock().train()(features)
    assert syncs.host_syncs == []
