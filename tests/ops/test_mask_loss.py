from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.ops import dice_loss, dynamic_mask_loss
from solo.ops.mask_loss import MaskLoss
from tests.helpers.counters import OperationCounter, peak_bytes


class Case:
    """Features, kernels, masks and indices with the numbers of positives given for each image."""

    def __init__(
        self,
        counts: Sequence[int],
        *,
        size: tuple[int, int] = (5, 7),
        channels: int = 4,
        kernel_size: int = 1,
        objects: int = 3,
        seed: int = 0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.counts = list(counts)
        self.mask_feats = torch.randn(len(counts), channels, *size, generator=generator)
        self.kernels = torch.randn(sum(counts), channels * kernel_size**2, generator=generator)
        self.masks = torch.rand(objects, *size, generator=generator) < 0.3
        self.object_idx = torch.randint(objects, (sum(counts),), generator=generator)
        self.weights = torch.rand(sum(counts), generator=generator)
        self.kernel_size = kernel_size

    def run(self, *, loss: MaskLoss = dice_loss, chunk_bytes: int = 2**24, **inputs: Tensor) -> Tensor:
        return dynamic_mask_loss(
            inputs.get("mask_feats", self.mask_feats),
            inputs.get("kernels", self.kernels),
            self.masks,
            object_idx=self.object_idx,
            positives_per_image=self.counts,
            weights=self.weights,
            loss=loss,
            chunk_bytes=chunk_bytes,
        )

    def gradients(self, evaluate: Callable[..., Tensor], **options: object) -> tuple[Tensor, Tensor, Tensor]:
        """Value, gradient by the features, gradient by the kernels."""
        leaves = [tensor.clone().requires_grad_() for tensor in (self.mask_feats, self.kernels)]
        value = evaluate(mask_feats=leaves[0], kernels=leaves[1], **options)
        value.backward()
        return value.detach(), leaves[0].grad, leaves[1].grad

    def straightforward(self, *, mask_feats: Tensor, kernels: Tensor) -> Tensor:
        """One convolution a positive, the published formula, and autograd."""
        total = torch.zeros((), dtype=mask_feats.dtype)
        image_of_positive = [image for image, count in enumerate(self.counts) for _ in range(count)]
        for row, image in enumerate(image_of_positive):
            side = self.kernel_size
            weight = kernels[row].view(1, -1, side, side)
            probabilities = F.conv2d(mask_feats[image][None], weight, padding=side // 2)[0, 0].sigmoid()
            target = self.masks[self.object_idx[row]].to(mask_feats.dtype)
            overlap = (probabilities * target).sum()
            loss = 1 - 2 * overlap / ((probabilities**2).sum() + 1e-3 + (target**2).sum() + 1e-3)
            total = total + self.weights[row] * loss
        return total


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 35 * 2, 2**24])
@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("counts", [(5,), (4, 3), (0, 6, 0, 1)])
def test_value_and_gradients(counts: tuple[int, ...], kernel_size: int, chunk_bytes: int) -> None:
    case = Case(counts, kernel_size=kernel_size)
    found = case.gradients(case.run, chunk_bytes=chunk_bytes)
    expected = case.gradients(case.straightforward)
    assert found[0].dtype == torch.float32
    assert relative(found[0], expected[0]) <= 1e-6
    assert relative(found[1], expected[1]) <= 2e-6
    assert relative(found[2], expected[2]) <= 2e-6


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(any),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    rows=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_chunks_do_not_matter(counts: list[int], size: tuple[int, int], rows: int, seed: int) -> None:
    case = Case(counts, size=size, seed=seed)
    found = case.gradients(case.run, chunk_bytes=rows * 4 * size[0] * size[1])
    expected = case.gradients(case.straightforward)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_any_loss_can_be_plugged_in() -> None:
    def squares(logits: Tensor, masks: Tensor) -> Tensor:
        return (logits - masks.float()).square().flatten(1).mean(dim=1)

    case = Case((2, 3))
    leaves = [tensor.clone().requires_grad_() for tensor in (case.mask_feats, case.kernels)]
    logits = torch.cat(
        [torch.einsum("ehw,pe->phw", *pair) for pair in zip(leaves[0], leaves[1].split(case.counts), strict=True)]
    )
    expected = (case.weights * squares(logits, case.masks[case.object_idx])).sum()
    expected.backward()
    value, by_feats, by_kernels = case.gradients(case.run, loss=squares, chunk_bytes=300)
    assert relative(value, expected.detach()) <= 1e-6
    assert relative(by_feats, leaves[0].grad) <= 2e-6
    assert relative(by_kernels, leaves[1].grad) <= 2e-6


def test_the_incoming_gradient_scales() -> None:
    case = Case((2, 1))
    _, by_feats, by_kernels = case.gradients(case.run)
    _, feats_scaled, kernels_scaled = case.gradients(lambda **inputs: case.run(**inputs) * -3.0)
    assert torch.allclose(feats_scaled, -3 * by_feats)
    assert torch.allclose(kernels_scaled, -3 * by_kernels)


@pytest.mark.parametrize("value", [0.5, float("inf"), float("nan")])
def test_without_positives(value: float) -> None:
    case = Case((0, 0))
    case.mask_feats.fill_(value)
    loss, by_feats, by_kernels = case.gradients(case.run)
    assert loss.item() == 0
    assert torch.equal(by_feats, torch.zeros(2, 4, 5, 7))
    assert by_kernels.shape == (0, 4)


def test_an_overflow_stays_in_its_image() -> None:
    case = Case((2, 2))
    case.mask_feats[1] = float("inf")
    _, by_feats, _ = case.gradients(case.run)
    assert by_feats[0].isfinite().all()


def test_one_pixel() -> None:
    case = Case((3,), size=(1, 1))
    found, expected = case.gradients(case.run), case.gradients(case.straightforward)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(found, expected, strict=True))


# ------------------------------------------------------------------------------------------------- half precision
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(dtype: torch.dtype) -> None:
    """As if the product alone were in the lower precision."""
    case = Case((20, 11), channels=16)
    case.kernels *= 0.2

    def evaluate(**inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype):
            return case.run(**inputs)

    found, expected = case.gradients(evaluate), case.gradients(case.straightforward)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert relative(one, other) <= 3e-2
    rounded = Case((20, 11), channels=16)
    rounded.mask_feats, rounded.kernels = (tensor.to(dtype).float() for tensor in (case.mask_feats, case.kernels))
    logits_rounded_too = relative(found[0], rounded.gradients(rounded.straightforward)[0])
    assert logits_rounded_too <= 3e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_have_the_type_of_the_inputs(dtype: torch.dtype) -> None:
    case = Case((2, 3))
    case.mask_feats, case.kernels = case.mask_feats.to(dtype), case.kernels.to(dtype)
    value, by_feats, by_kernels = case.gradients(case.run)
    assert (value.dtype, by_feats.dtype, by_kernels.dtype) == (torch.float32, dtype, dtype)


def test_float16_gradients_that_need_the_loss_scale() -> None:
    """A large mask's gradients are below float16's smallest number until the loss is scaled."""
    case = Case((1,), size=(64, 64), objects=1)
    case.masks.fill_(True)
    case.weights.fill_(1e-6)
    expected = case.gradients(case.straightforward)[1]
    assert expected.abs().max() < 1e-8

    def evaluate(**inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.float16):
            return case.run(**inputs) * 2.0**16

    assert relative(case.gradients(evaluate)[1] / 2**16, expected) <= 1e-2


# ------------------------------------------------------------------------------------------------------- resources
def test_the_loss_is_called_once_a_chunk_whatever_the_images() -> None:
    sizes = []

    def counting(logits: Tensor, masks: Tensor) -> Tensor:
        sizes.append(len(masks))
        return dice_loss(logits, masks)

    case = Case((2, 0, 5, 1))
    case.run(loss=counting)
    case.run(loss=counting, chunk_bytes=4 * 35 * 3)
    assert sizes == [8, 2, 3, 3], "one chunk of all, and three of at most three masks"


def test_memory_does_not_grow_with_the_positives() -> None:
    def step(case: Case) -> Callable[[], object]:
        return lambda: case.gradients(case.run, chunk_bytes=4 * 64 * 64 * 4)

    few, many = (peak_bytes(step(Case((count,), size=(64, 64)))) for count in (4, 200))
    kernels_and_indices = 200 * 4 * 4 * 6
    assert many <= few + kernels_and_indices


def test_without_gradients_nothing_is_kept_for_them() -> None:
    case = Case((3, 2))
    case.kernels.requires_grad_()
    with torch.no_grad(), OperationCounter() as counter:
        loss = case.run()
    assert not loss.requires_grad
    assert counter.kernels["mm"] == 2, "one product an image, none for a gradient"
    assert counter.kernels["sigmoid_backward"] == 0


def test_never_waits_for_the_device() -> None:
    case = Case((3, 0, 2))
    with OperationCounter() as counter:
        case.gradients(case.run, chunk_bytes=300)
    assert counter.host_syncs == []


def test_backward_only_scales() -> None:
    case = Case((3, 2))
    case.kernels.requires_grad_()
    loss = case.run()
    with OperationCounter() as counter:
        loss.backward()
    assert counter.kernels["mul_"] == 2
    assert sum(counter.kernels.values()) <= 4


# ---------------------------------------------------------------------------------------------------------- errors
def test_a_second_backward_pass_is_an_error() -> None:
    case = Case((2,))
    case.kernels.requires_grad_()
    loss = case.run()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        loss.backward()


def test_double_backward_is_an_error() -> None:
    case = Case((2,))
    case.kernels.requires_grad_()
    (gradient,) = torch.autograd.grad(case.run() ** 2, case.kernels, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_loss_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"one value a mask, \(2,\); got \(\)"):
        Case((2,)).run(loss=lambda logits, masks: logits.sum())


def test_kernels_that_do_not_fit() -> None:
    case = Case((2,))
    case.kernels = case.kernels[:, :3]
    with pytest.raises(ValueError, match="4 mask-feature channels need"):
        case.run()


# ---------------------------------------------------------------------------------------------------------- biases
@pytest.mark.parametrize("chunk_bytes", [1, 4 * 35 * 2, 2**24])
@pytest.mark.parametrize("counts", [(5,), (0, 6, 0, 1), (0, 0)])
def test_biases_are_a_feature_of_ones(counts: tuple[int, ...], chunk_bytes: int) -> None:
    case = Case(counts)
    case.mask_feats[:, -1] = 1
    value, by_feats, by_kernels = case.gradients(case.run, chunk_bytes=chunk_bytes)
    leaves = [x.clone().requires_grad_() for x in (case.mask_feats[:, :-1], case.kernels[:, :-1], case.kernels[:, -1])]
    biased = dynamic_mask_loss(
        leaves[0],
        leaves[1],
        case.masks,
        object_idx=case.object_idx,
        positives_per_image=case.counts,
        weights=case.weights,
        loss=dice_loss,
        biases=leaves[2],
        chunk_bytes=chunk_bytes,
    )
    biased.backward()
    assert relative(biased.detach(), value) <= 1e-6
    assert relative(leaves[0].grad, by_feats[:, :-1]) <= 2e-6
    if sum(counts):
        assert relative(leaves[1].grad, by_kernels[:, :-1]) <= 2e-6
        assert relative(leaves[2].grad, by_kernels[:, -1]) <= 2e-6
    assert leaves[2].grad.shape == (sum(counts),)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_biases_keep_their_type(dtype: torch.dtype) -> None:
    """Under autocast features come in half precision; kernels and biases that are parameters stay in single."""
    case = Case((2, 1))
    biases = torch.zeros(3, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        loss = dynamic_mask_loss(
            case.mask_feats.to(dtype),
            case.kernels,
            case.masks,
            object_idx=case.object_idx,
            positives_per_image=case.counts,
            weights=case.weights,
            loss=dice_loss,
            biases=biases,
        )
    loss.backward()
    assert biases.grad is not None and biases.grad.dtype == torch.float32
