from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.ops import dice_loss, product_logits, product_mask_loss
from solo.ops.mask_loss import MaskLoss
from tests.helpers.counters import OperationCounter, peak_bytes

SIDE = 3


class Case:
    """Maps of columns and rows, masks and indices with the numbers of positives given for each image."""

    def __init__(
        self, counts: Sequence[int], *, size: tuple[int, int] = (5, 7), scale: float = 2.0, seed: int = 0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.image_idx = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self.x_logits, self.y_logits = scale * torch.randn(2, len(counts), SIDE, *size, generator=generator)
        self.masks = torch.rand(4, *size, generator=generator) < 0.3
        count = (sum(counts),)
        self.x_idx, self.y_idx = (torch.randint(SIDE, count, generator=generator) for _ in range(2))
        self.object_idx = torch.randint(4, count, generator=generator)
        self.weights = torch.rand(count, generator=generator)

    def run(
        self, x_logits: Tensor, y_logits: Tensor, *, loss: MaskLoss = dice_loss, chunk_bytes: int = 2**24
    ) -> Tensor:
        return product_mask_loss(
            x_logits,
            y_logits,
            self.masks,
            image_idx=self.image_idx,
            x_idx=self.x_idx,
            y_idx=self.y_idx,
            object_idx=self.object_idx,
            weights=self.weights,
            loss=loss,
            chunk_bytes=chunk_bytes,
        )

    def straightforward(self, x_logits: Tensor, y_logits: Tensor) -> Tensor:
        """One product a positive, the published formula, and autograd, in double precision."""
        x_logits, y_logits = x_logits.double(), y_logits.double()
        total = torch.zeros((), dtype=torch.float64)
        for row, image in enumerate(self.image_idx):
            x, y = x_logits[image, self.x_idx[row]].sigmoid(), y_logits[image, self.y_idx[row]].sigmoid()
            target = self.masks[self.object_idx[row]].double()
            loss = 1 - 2 * (x * y * target).sum() / (((x * y) ** 2).sum() + 1e-3 + target.sum() + 1e-3)
            total = total + self.weights[row] * loss
        return total

    def gradients(self, evaluate: Callable[..., Tensor], **options: object) -> tuple[Tensor, Tensor, Tensor]:
        """Value, gradient by the columns' logits, gradient by the rows'."""
        leaves = [tensor.clone().requires_grad_() for tensor in (self.x_logits, self.y_logits)]
        value = evaluate(*leaves, **options)
        value.backward()
        return value.detach().float(), leaves[0].grad, leaves[1].grad


def assert_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], *, tolerance: float = 3e-6) -> None:
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) <= tolerance * max(1e-6, float(other.abs().max()))


# ------------------------------------------------------------------------------------------------------------ logits
def test_logits_by_hand() -> None:
    """A half times a half is a quarter, whose logit is -log 3; a certain factor leaves the other as it is."""
    found = product_logits(torch.tensor([0.0, 50.0, -3.0]), torch.tensor([0.0, 1.5, 50.0]))
    torch.testing.assert_close(found, torch.tensor([-1.0986123, 1.5, -3.0]))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(x=st.floats(-80, 60, width=32), y=st.floats(-80, 60, width=32))
def test_logits_are_precise_everywhere(x: float, y: float) -> None:
    a, b = torch.tensor([x, y], dtype=torch.float64).unbind()
    # p / (1 - p) without a difference of near numbers.
    exact = -torch.logaddexp(torch.logaddexp(-a, -b), -a - b)
    found = product_logits(torch.tensor(x), torch.tensor(y)).double()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("x", "y"), [(1e4, 1e4), (-1e4, 1e4), (-1e4, -1e4), (float("inf"), float("inf"))])
def test_extreme_logits_stay_numbers(x: float, y: float, dtype: torch.dtype) -> None:
    found = product_logits(torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype))
    assert found.dtype == torch.float32 and found.isfinite()
    assert found.sigmoid() == float(x > 0 and y > 0)


# -------------------------------------------------------------------------------------------------------------- loss
@pytest.mark.parametrize("chunk_bytes", [1, 4 * 35 * 2, 2**24])
@pytest.mark.parametrize("counts", [(5,), (4, 3), (0, 6, 0, 1)])
def test_value_and_gradients(counts: tuple[int, ...], chunk_bytes: int) -> None:
    case = Case(counts)
    found = case.gradients(case.run, chunk_bytes=chunk_bytes)
    assert found[0].dtype == torch.float32
    assert_same(found, case.gradients(case.straightforward))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(any),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    rows=st.integers(1, 4),
    scale=st.sampled_from([0.1, 3.0, 10.0]),
    seed=st.integers(0, 99),
)
def test_chunks_do_not_matter(counts: list[int], size: tuple[int, int], rows: int, scale: float, seed: int) -> None:
    case = Case(counts, size=size, scale=scale, seed=seed)
    found = case.gradients(case.run, chunk_bytes=rows * 4 * size[0] * size[1])
    for one, other in zip(found, case.gradients(case.straightforward), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_any_loss_of_logits_can_be_plugged_in() -> None:
    def cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
        element = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none")
        return element.flatten(1).mean(dim=1)

    def straightforward(x_logits: Tensor, y_logits: Tensor) -> Tensor:
        total = torch.zeros(())
        for row, image in enumerate([0, 0, 1, 1, 1]):
            product = x_logits[image, case.x_idx[row]].sigmoid() * y_logits[image, case.y_idx[row]].sigmoid()
            masks = case.masks[case.object_idx[row]].float()
            total = total + case.weights[row] * torch.nn.functional.binary_cross_entropy(product, masks)
        return total

    case = Case((2, 3))
    assert_same(case.gradients(case.run, loss=cross_entropy), case.gradients(straightforward), tolerance=1e-5)


@pytest.mark.parametrize("value", [0.5, float("inf"), float("nan")])
def test_without_positives(value: float) -> None:
    case = Case((0, 0))
    case.x_logits.fill_(value)
    loss, *gradients = case.gradients(case.run)
    assert loss.item() == 0
    assert all(torch.equal(gradient, torch.zeros(2, SIDE, 5, 7)) for gradient in gradients)


@pytest.mark.parametrize("value", [1e4, -1e4, float("inf")])
def test_certain_maps_have_finite_gradients(value: float) -> None:
    case = Case((2, 1))
    case.x_logits.fill_(value)
    case.y_logits.fill_(value)
    assert all(tensor.isfinite().all() for tensor in case.gradients(case.run))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_have_a_loss_in_single(dtype: torch.dtype) -> None:
    case = Case((2, 1))
    case.x_logits, case.y_logits = case.x_logits.to(dtype), case.y_logits.to(dtype)
    value, *gradients = case.gradients(case.run)
    assert value.dtype == torch.float32
    assert all(gradient.dtype == dtype for gradient in gradients)
    case.x_logits, case.y_logits = case.x_logits.float(), case.y_logits.float()
    for one, other in zip(gradients, case.gradients(case.run)[1:], strict=True):
        torch.testing.assert_close(one.float(), other, rtol=1e-2, atol=1e-4)


def test_memory_does_not_grow_with_the_positives() -> None:
    def step(case: Case) -> Callable[[], object]:
        return lambda: case.gradients(case.run, chunk_bytes=4 * 64 * 64 * 4)

    few, many = (peak_bytes(step(Case((count,), size=(64, 64)))) for count in (4, 200))
    indices = 200 * 8 * 6
    assert many <= few + indices


def test_never_waits_for_the_device() -> None:
    case = Case((3, 0, 2))
    with OperationCounter() as counter:
        case.gradients(case.run, chunk_bytes=300)
    assert counter.host_syncs == []


def test_a_second_backward_pass_is_an_error() -> None:
    case = Case((2,))
    loss = case.run(case.x_logits.requires_grad_(), case.y_logits)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        loss.backward()


def test_a_loss_of_another_shape() -> None:
    case = Case((2,))
    with pytest.raises(ValueError, match=r"one value a mask, \(2,\); got \(\)"):
        case.run(case.x_logits, case.y_logits, loss=lambda logits, masks: logits.sum())
