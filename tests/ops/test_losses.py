from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.ops import boundary_loss, dice_loss, matched_mask_iou, quality_focal_loss, sigmoid_focal_loss

LOG_3 = math.log(3)  # the logit of 0.75


# ------------------------------------------------------------------------------------------------------- focal loss
@pytest.mark.parametrize(
    ("logit", "target", "alpha", "gamma", "expected"),
    [
        (0.0, 1, 0.25, 2.0, 0.25 * 0.5**2 * math.log(2)),
        (0.0, 0, 0.25, 2.0, 0.75 * 0.5**2 * math.log(2)),
        (LOG_3, 1, 0.25, 2.0, 0.25 * 0.25**2 * -math.log(0.75)),
        (LOG_3, 0, 0.25, 2.0, 0.75 * 0.75**2 * -math.log(0.25)),
        (-LOG_3, 1, 0.25, 2.0, 0.25 * 0.75**2 * -math.log(0.25)),
        (-LOG_3, 0, 0.25, 2.0, 0.75 * 0.25**2 * -math.log(0.75)),
        (LOG_3, 1, 0.5, 0.0, 0.5 * -math.log(0.75)),
        (LOG_3, 0, 1.0, 2.0, 0.0),
        (-1000.0, 1, 0.25, 2.0, 250.0),
        (1000.0, 0, 0.25, 2.0, 750.0),
        (-1000.0, 0, 0.25, 2.0, 0.0),
        (1000.0, 1, 0.25, 2.0, 0.0),
    ],
)
def test_focal_loss_by_hand(logit: float, target: int, alpha: float, gamma: float, expected: float) -> None:
    loss = sigmoid_focal_loss(torch.tensor([logit]), torch.tensor([target]), alpha=alpha, gamma=gamma)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("target_dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("logit_dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_focal_loss_in_every_dtype(target_dtype: torch.dtype, logit_dtype: torch.dtype) -> None:
    logits = torch.linspace(-9, 9, 12, dtype=logit_dtype).view(2, 3, 2)
    targets = torch.arange(12).view(2, 3, 2) % 3 == 0
    loss = sigmoid_focal_loss(logits, targets.to(target_dtype))
    assert loss.dtype == torch.float32
    assert loss.shape == (2, 3, 2)
    assert torch.equal(loss, sigmoid_focal_loss(logits.float(), targets))


def test_focal_loss_of_nothing() -> None:
    assert sigmoid_focal_loss(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0, 3)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(logit=st.floats(-15, 15), step=st.floats(0.01, 5), alpha=st.floats(0, 1), gamma=st.sampled_from([0.0, 1.0, 2.0]))
def test_focal_loss_falls_towards_the_target(logit: float, step: float, alpha: float, gamma: float) -> None:
    logits = torch.tensor([logit, logit + step, logit, logit + step])
    one, one_higher, zero, zero_higher = sigmoid_focal_loss(
        logits, torch.tensor([1, 1, 0, 0]), alpha=alpha, gamma=gamma
    ).tolist()
    assert one >= one_higher >= 0
    assert zero_higher >= zero >= 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(logit=st.floats(-6, 6), target=st.booleans(), alpha=st.floats(0, 1), gamma=st.floats(0, 4))
def test_focal_loss_against_the_published_formula(logit: float, target: bool, alpha: float, gamma: float) -> None:
    probability = 1 / (1 + math.exp(-logit))
    matched, weight = (probability, alpha) if target else (1 - probability, 1 - alpha)
    expected = -weight * (1 - matched) ** gamma * math.log(matched)
    loss = sigmoid_focal_loss(torch.tensor([logit]), torch.tensor([target]), alpha=alpha, gamma=gamma)
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [0.25, 0.9])
def test_focal_loss_and_its_derivative_against_autograd(alpha: float, gamma: float, generator: torch.Generator) -> None:
    """In double precision, where the chain of operations has no error of its own."""
    logits = (4 * torch.randn(6, 50, generator=generator)).requires_grad_()
    targets = torch.rand(6, 50, generator=generator) < 0.3
    scale = torch.rand(6, 50, generator=generator)
    exact = logits.detach().double().requires_grad_()
    matched = torch.where(targets, exact, -exact)
    weights = torch.where(targets, alpha, 1 - alpha).double()
    expected = -weights * (1 - matched.sigmoid()) ** gamma * F.logsigmoid(matched)
    (expected * scale).sum().backward()
    loss = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)
    (loss * scale).sum().backward()
    assert torch.allclose(loss.double(), expected, rtol=2e-6, atol=0)
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=5e-6, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("value", [-1000.0, -90.0, 90.0, 1000.0])
@pytest.mark.parametrize("target", [True, False])
def test_focal_loss_of_extreme_logits_has_a_finite_derivative(value: float, target: bool, gamma: float) -> None:
    logits = torch.tensor([value], requires_grad=True)
    sigmoid_focal_loss(logits, torch.tensor([target]), gamma=gamma).sum().backward()
    slope = {True: -0.25, False: 0.75}[target] if (value > 0) != target else 0.0
    assert logits.grad.item() == pytest.approx(slope)


# -------------------------------------------------------------------------------------------------------- dice loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dice_loss_derivative_against_autograd(dtype: torch.dtype, generator: torch.Generator) -> None:
    logits = (3 * torch.randn(5, 6, 7, generator=generator)).to(dtype).requires_grad_()
    targets = torch.rand(5, 6, 7, generator=generator) < 0.3
    targets[2] = False
    scale = torch.rand(5, generator=generator)
    exact = logits.detach().double().requires_grad_()
    probabilities, truth = exact.sigmoid().flatten(1), targets.double().flatten(1)
    total = (probabilities**2).sum(dim=1) + (truth**2).sum(dim=1) + 0.002
    expected = 1 - 2 * (probabilities * truth).sum(dim=1) / total
    (expected * scale).sum().backward()
    losses = dice_loss(logits, targets)
    (losses * scale).sum().backward()
    assert torch.allclose(losses.double(), expected, rtol=1e-6)
    assert logits.grad.dtype == dtype
    assert logits.grad[2].abs().max() == 0
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 1e-3}[dtype]
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize(
    ("logits", "targets", "eps", "expected"),
    [
        pytest.param([0, 0, 0, 0], [1, 1, 0, 0], 1e-3, 1 - 2 * 1 / (1 + 2 + 0.002), id="undecided"),
        pytest.param([50, 50, -50, -50], [1, 1, 0, 0], 1e-3, 1 - 4 / 4.002, id="perfect"),
        pytest.param([-50, -50, 50, 50], [1, 1, 0, 0], 1e-3, 1.0, id="wrong"),
        pytest.param([LOG_3, 0, 0, -50], [1, 0, 0, 0], 1e-3, 1 - 1.5 / (0.5625 + 0.5 + 1 + 0.002), id="mixed"),
        pytest.param([-50, -50, -50, -50], [0, 0, 0, 0], 1e-3, 1.0, id="both empty"),
        pytest.param([50, 50, 50, 50], [1, 1, 1, 1], 1.0, 1 - 8 / 10, id="eps is added to both sums"),
    ],
)
def test_dice_loss_by_hand(logits: list[float], targets: list[int], eps: float, expected: float) -> None:
    loss = dice_loss(
        torch.tensor([logits]).float().view(1, 2, 2), torch.tensor([targets]).bool().view(1, 2, 2), eps=eps
    )
    assert loss.tolist() == pytest.approx([expected], abs=2e-7)


def test_dice_loss_is_one_value_a_mask(generator: torch.Generator) -> None:
    logits = torch.randn(3, 4, 5, generator=generator)
    targets = torch.rand(3, 4, 5, generator=generator) > 0.5
    losses = dice_loss(logits, targets)
    assert losses.shape == (3,)
    assert losses.dtype == torch.float32
    for row in range(3):
        assert losses[row].item() == pytest.approx(dice_oracle(logits[row], targets[row]), rel=1e-5)


def dice_oracle(logits: Tensor, targets: Tensor) -> float:
    overlap = squares = area = 0.0
    for logit, target in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        overlap += probability * target
        squares += probability**2
        area += target
    return 1 - 2 * overlap / ((squares + 1e-3) + (area + 1e-3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dice_loss_counts_large_masks_exactly(dtype: torch.dtype) -> None:
    """90,000 pixels overflow float16 and are rounded in bfloat16."""
    losses = dice_loss(torch.full((1, 300, 300), 40.0, dtype=dtype), torch.ones(1, 300, 300, dtype=torch.bool))
    assert losses.dtype == torch.float32
    assert losses.item() == pytest.approx(0.002 / 180_000, abs=1e-6)


def test_dice_loss_of_no_mask_keeps_the_graph() -> None:
    logits = torch.zeros(0, 4, 4, requires_grad=True)
    losses = dice_loss(logits, torch.zeros(0, 4, 4, dtype=torch.bool))
    assert losses.shape == (0,)
    losses.sum().backward()
    assert logits.grad.shape == (0, 4, 4)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    values=st.lists(st.floats(-30, 30), min_size=4, max_size=4),
    target=st.lists(st.booleans(), min_size=4, max_size=4),
    order=st.permutations(range(4)),
)
def test_dice_loss_is_a_fraction_whatever_the_order(values: list[float], target: list[bool], order: list[int]) -> None:
    logits, targets = torch.tensor([values]), torch.tensor([target])
    loss = dice_loss(logits, targets).item()
    assert 0 <= loss <= 1
    assert dice_loss(logits[:, order], targets[:, order]).item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("loss", [dice_loss, sigmoid_focal_loss])
def test_targets_of_another_shape(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\), got \(2, 1, 4\)"):
        loss(torch.zeros(2, 3, 4), torch.zeros(2, 1, 4, dtype=torch.bool))


def test_dice_targets_must_be_bool() -> None:
    with pytest.raises(ValueError, match=r"must be bool, got torch\.float32"):
        dice_loss(torch.zeros(1, 2), torch.zeros(1, 2))


# ----------------------------------------------------------------------------------------------- quality focal loss
@pytest.mark.parametrize(
    ("logit", "quality", "beta", "expected"),
    [
        (0.0, 1.0, 2.0, 0.5**2 * math.log(2)),
        (0.0, 0.0, 2.0, 0.5**2 * math.log(2)),
        (LOG_3, 0.75, 2.0, 0.0),
        (LOG_3, 0.25, 2.0, 0.5**2 * -(0.25 * math.log(0.75) + 0.75 * math.log(0.25))),
        (LOG_3, 0.25, 1.0, 0.5 * -(0.25 * math.log(0.75) + 0.75 * math.log(0.25))),
        (-1000.0, 1.0, 2.0, 1000.0),
    ],
)
def test_quality_focal_loss_by_hand(logit: float, quality: float, beta: float, expected: float) -> None:
    loss = quality_focal_loss(torch.tensor([logit]), torch.tensor([quality]), beta=beta)
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("quality", [0.0, 0.3, 0.8, 1.0])
def test_quality_focal_loss_is_least_where_the_score_is_the_quality(quality: float) -> None:
    scores = torch.linspace(0.005, 0.995, 199)
    losses = quality_focal_loss(scores.logit(), torch.full_like(scores, quality))
    assert abs(scores[losses.argmin()].item() - quality) <= 0.0051


def test_quality_focal_loss_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got \(3,\)"):
        quality_focal_loss(torch.zeros(2, 3), torch.zeros(3))


# ---------------------------------------------------------------------------------------------------- boundary loss
def _boundary_loss_by_loops(logits: Tensor, targets: Tensor) -> float:
    """Mean cross-entropy over the pixels whose 3x3 neighbourhood within the image is mixed."""
    height, width = targets.shape
    losses = []
    for y in range(height):
        for x in range(width):
            around = targets[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if around.any() and not around.all():
                logit = logits[y, x].item()
                losses.append(math.log1p(math.exp(-logit if targets[y, x] else logit)))
    return sum(losses) / max(len(losses), 1)


def test_boundary_loss_by_hand() -> None:
    targets = torch.zeros(1, 5, 6, dtype=torch.bool)
    targets[0, :, 3:] = True  # the boundary is columns 2 and 3, and not the borders of the image
    logits = torch.zeros(1, 5, 6)
    logits[0, :, [0, 1, 4, 5]] = 77.0  # elsewhere no pixel counts
    assert boundary_loss(logits, targets).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_boundary_loss_equals_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(4, 7, 9, generator=generator) < torch.tensor([0.05, 0.5, 0.95, 0.0])[:, None, None]
    logits = torch.randn(4, 7, 9, generator=generator) * 4
    expected = [_boundary_loss_by_loops(*pair) for pair in zip(logits, targets, strict=True)]
    assert boundary_loss(logits, targets).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("fill", [False, True])
def test_without_boundary_the_loss_is_zero_and_its_gradient_finite(fill: bool) -> None:
    logits = torch.randn(2, 4, 4, requires_grad=True)
    loss = boundary_loss(logits, torch.full((2, 4, 4), fill))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.tolist() == [0, 0]
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_boundary_loss_refuses_other_targets() -> None:
    with pytest.raises(ValueError, match=r"must be bool, got torch\.float32"):
        boundary_loss(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))


# -------------------------------------------------------------------------------------------------------------- IoU
def test_iou_of_matched_masks() -> None:
    logits = torch.tensor([[[1.0, 1.0], [-1.0, 0.0]]]).repeat(4, 1, 1)
    targets = torch.tensor([[[1, 1], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [1, 1]], [[1, 0], [1, 0]]]).bool()
    assert matched_mask_iou(logits, targets).tolist() == pytest.approx([1, 1 / 2, 0, 1 / 3])
    assert matched_mask_iou(-torch.ones(1, 2, 2), torch.zeros(1, 2, 2).bool()).tolist() == [0]
