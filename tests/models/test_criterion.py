from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solo.models import DiceLoss, FocalLoss, QualityFocalLoss, SOLOv2Criterion
from solo.ops import boundary_loss, quality_focal_loss
from solo.structures import GridTargets, SOLOv2Outputs
from tests.helpers.counters import OperationCounter

NORMS = ["targets", "cells", "nonempty"]
LOG_2 = math.log(2)


def criterion_of(num_classes: int = 2, **options: Any) -> SOLOv2Criterion:
    return SOLOv2Criterion(num_classes=num_classes, **{"loss_cls": FocalLoss(), "loss_mask": DiceLoss(), **options})


def targets_of(labels: list[list[int]], positives: list[tuple[int, int, int]], masks: Tensor) -> GridTargets:
    """Targets from (image, cell, object) rows, images ascending."""
    image_idx, cell_idx, object_idx = torch.tensor(positives, dtype=torch.int64).view(-1, 3).unbind(dim=1)
    return GridTargets(
        labels=torch.tensor(labels),
        image_idx=image_idx,
        cell_idx=cell_idx,
        object_idx=object_idx,
        masks=masks,
        num_cells=torch.tensor(len({row[:2] for row in positives})),
        positives_per_image=[sum(row[0] == image for row in positives) for image in range(len(labels))],
    )


def random_case(generator: torch.Generator) -> tuple[SOLOv2Outputs, GridTargets]:
    """Two images, six cells, two classes; one cell of two objects, and one object whose mask is empty."""
    outputs = SOLOv2Outputs(
        cls_logits=torch.randn(2, 6, 2, generator=generator),
        kernels=torch.randn(2, 6, 4, generator=generator),
        mask_feats=torch.randn(2, 4, 3, 5, generator=generator),
    )
    masks = torch.rand(4, 3, 5, generator=generator) < 0.5
    masks[2] = False
    positives = [(0, 1, 0), (0, 1, 1), (0, 4, 1), (1, 0, 2), (1, 5, 3)]
    return outputs, targets_of([[2, 1, 2, 2, 0, 2], [0, 2, 2, 2, 2, 1]], positives, masks)


def loop_oracle(outputs: SOLOv2Outputs, targets: GridTargets, norm: str) -> dict[str, float]:
    """One cell, one class, one pixel at a time, with Python's numbers."""
    class_loss = 0.0
    for image, labels in enumerate(targets.labels.tolist()):
        for cell, label in enumerate(labels):
            for category, logit in enumerate(outputs.cls_logits[image, cell].tolist()):
                probability = 1 / (1 + math.exp(-logit))
                if category == label:
                    class_loss += -0.25 * (1 - probability) ** 2 * math.log(probability)
                else:
                    class_loss += -0.75 * probability**2 * math.log(1 - probability)
    mask_loss, cells, nonempty = 0.0, set(), 0
    rows = zip(targets.image_idx.tolist(), targets.cell_idx.tolist(), targets.object_idx.tolist(), strict=True)
    positives = list(rows)
    for image, cell, row in positives:
        kernel, target = outputs.kernels[image, cell], targets.masks[row]
        overlap = squares = area = 0.0
        for y in range(target.shape[0]):
            for x in range(target.shape[1]):
                logit = sum(
                    k * f for k, f in zip(kernel.tolist(), outputs.mask_feats[image, :, y, x].tolist(), strict=True)
                )
                probability = 1 / (1 + math.exp(-logit))
                overlap += probability * bool(target[y, x])
                squares += probability**2
                area += bool(target[y, x])
        loss = 3 * (1 - 2 * overlap / (squares + 0.001 + area + 0.001))
        mask_loss += 0.0 if norm == "nonempty" and not area else loss
        cells.add((image, cell))
        nonempty += area > 0
    divisor = {"targets": len(positives), "cells": len(cells), "nonempty": nonempty}[norm]
    return {"loss_cls": class_loss / (len(cells) + 1), "loss_mask": mask_loss / divisor}


# ---------------------------------------------------------------------------------------------------------- by hand
def test_by_hand() -> None:
    """One image, two cells, one class, mask features of four pixels; every logit is 0."""
    outputs = SOLOv2Outputs(torch.zeros(1, 2, 1), torch.zeros(1, 2, 3), torch.zeros(1, 3, 2, 2))
    targets = targets_of([[0, 1]], [(0, 0, 0)], torch.tensor([[[True, True], [False, False]]]))
    losses = criterion_of(1)(outputs, targets)
    assert losses.keys() == {"loss_cls", "loss_mask"}
    assert losses["loss_cls"].item() == pytest.approx((0.25 + 0.75) * 0.25 * LOG_2 / 2)
    assert losses["loss_mask"].item() == pytest.approx(3 * (1 - 2 / 3.002))


@pytest.mark.parametrize("norm", NORMS)
def test_against_loops(norm: str, generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    losses = criterion_of(mask_loss_norm=norm)(outputs, targets)
    expected = loop_oracle(outputs, targets, norm)
    for name, loss in losses.items():
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_divisors_over_the_job_by_hand(norm: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    """The other of two processes counts three: the sums are divided by half of all."""
    outputs, targets = random_case(generator)
    of_process = criterion_of(mask_loss_norm=norm)(outputs, targets)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda count: count.add_(3))
    of_job = criterion_of(mask_loss_norm=norm, normalize_over="job")(outputs, targets)
    own = {"targets": 5, "cells": 4, "nonempty": 4}[norm]
    assert of_job["loss_mask"].item() == pytest.approx(of_process["loss_mask"].item() * own / ((own + 3) / 2))
    assert of_job["loss_cls"].item() == pytest.approx(of_process["loss_cls"].item() * 5 / ((4 + 3 + 1) / 2))


def test_the_norms_differ_by_their_divisor(generator: torch.Generator) -> None:
    """Five positives in four cells."""
    outputs, targets = random_case(generator)
    by_norm = {norm: criterion_of(mask_loss_norm=norm)(outputs, targets)["loss_mask"].item() for norm in NORMS}
    assert by_norm["cells"] == pytest.approx(by_norm["targets"] * 5 / 4)
    assert by_norm["nonempty"] != pytest.approx(by_norm["targets"])


def test_loss_weights(generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    plain = criterion_of(loss_cls=FocalLoss(), loss_mask=DiceLoss(loss_weight=1.0))(outputs, targets)
    weighted = criterion_of(loss_cls=FocalLoss(loss_weight=2.0), loss_mask=DiceLoss(loss_weight=5.0))(outputs, targets)
    assert weighted["loss_cls"].item() == pytest.approx(2 * plain["loss_cls"].item())
    assert weighted["loss_mask"].item() == pytest.approx(5 * plain["loss_mask"].item())


def test_larger_dynamic_kernels(generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    wide = torch.zeros(2, 6, 4, 3, 3)
    wide[..., 1, 1] = outputs.kernels
    losses = criterion_of()(outputs._replace(kernels=wide.flatten(2)), targets)
    assert losses["loss_mask"].item() == pytest.approx(criterion_of()(outputs, targets)["loss_mask"].item())


# -------------------------------------------------------------------------------------------------------- gradients
def gradients(criterion: SOLOv2Criterion, outputs: SOLOv2Outputs, targets: GridTargets) -> list[Tensor | None]:
    leaves = SOLOv2Outputs(*(tensor.clone().requires_grad_() for tensor in outputs))
    sum(criterion(leaves, targets).values()).backward()
    return [leaf.grad for leaf in leaves]


def test_only_positive_cells_get_a_kernel_gradient(generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    cls_gradient, kernel_gradient, feature_gradient = gradients(criterion_of(), outputs, targets)
    touched = (kernel_gradient.abs().sum(dim=2) > 0).nonzero().tolist()
    # Not (1, 0): nothing overlaps an empty mask, whatever is sampled, and its loss is constant.
    assert touched == [[0, 1], [0, 4], [1, 5]]
    assert (cls_gradient != 0).all()
    assert (feature_gradient != 0).any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("value", [0.5, float("inf"), float("nan")])
def test_without_positives(norm: str, value: float) -> None:
    """Zeros whatever the mask branch says, so that no rank waits for a gradient and nothing is poisoned."""
    outputs = SOLOv2Outputs(torch.zeros(2, 3, 2), torch.full((2, 3, 4), value), torch.full((2, 4, 2, 2), value))
    targets = targets_of([[2, 2, 2]] * 2, [], torch.zeros(0, 2, 2, dtype=torch.bool))
    losses = criterion_of(mask_loss_norm=norm)(outputs, targets)
    assert losses["loss_mask"].item() == 0
    assert losses["loss_cls"].item() == pytest.approx(12 * 0.75 * 0.25 * LOG_2)
    cls_gradient, kernel_gradient, feature_gradient = gradients(criterion_of(mask_loss_norm=norm), outputs, targets)
    assert (cls_gradient > 0).all()
    assert torch.equal(kernel_gradient, torch.zeros(2, 3, 4))
    assert torch.equal(feature_gradient, torch.zeros(2, 4, 2, 2))


@pytest.mark.parametrize("norm", NORMS)
def test_only_empty_masks(norm: str) -> None:
    outputs = SOLOv2Outputs(torch.zeros(1, 3, 2), torch.ones(1, 3, 4), torch.ones(1, 4, 2, 2))
    targets = targets_of([[0, 2, 2]], [(0, 0, 0)], torch.zeros(1, 2, 2, dtype=torch.bool))
    loss = criterion_of(mask_loss_norm=norm)(outputs, targets)["loss_mask"].item()
    assert loss == pytest.approx(0.0 if norm == "nonempty" else 3.0)
    assert all(gradient.isfinite().all() for gradient in gradients(criterion_of(mask_loss_norm=norm), outputs, targets))


def test_some_images_without_positives(generator: torch.Generator) -> None:
    outputs, _ = random_case(generator)
    masks = torch.rand(1, 3, 5, generator=generator) < 0.5
    targets = targets_of([[2] * 6, [2, 0, 2, 2, 2, 2]], [(1, 1, 0)], masks)
    expected = loop_oracle(outputs, targets, "targets")
    losses = criterion_of()(outputs, targets)
    assert losses["loss_mask"].item() == pytest.approx(expected["loss_mask"], rel=1e-5)
    assert gradients(criterion_of(), outputs, targets)[2][0].abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_give_single_precision_losses(dtype: torch.dtype, generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    halves = SOLOv2Outputs(*(tensor.to(dtype) for tensor in outputs))
    expected = criterion_of()(outputs, targets)
    for name, loss in criterion_of()(halves, targets).items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[name].item(), rel=3e-2)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("positives", [True, False])
def test_never_waits_for_the_device(norm: str, positives: bool, generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    if not positives:
        targets = targets_of([[2] * 6] * 2, [], torch.zeros(0, 3, 5, dtype=torch.bool))
    with OperationCounter() as syncs:
        gradients(criterion_of(mask_loss_norm=norm), outputs, targets)
    assert syncs.host_syncs == []


def test_unknown_norm() -> None:
    with pytest.raises(ValueError, match="'targets', 'cells' or 'nonempty', not 'pixels'"):
        criterion_of(mask_loss_norm="pixels")


# ---------------------------------------------------------------------------------------------- recipes for exact masks
def _quality_by_loops(outputs: SOLOv2Outputs, targets: GridTargets) -> Tensor:
    """(B, S): the best IoU of a positive cell's mask with its objects, at least 0.05."""
    quality = torch.zeros(targets.labels.shape)
    for image, cell, row in zip(targets.image_idx, targets.cell_idx, targets.object_idx, strict=True):
        logits = torch.einsum("e,ehw->hw", outputs.kernels[image, cell], outputs.mask_feats[image])
        mask, target = logits > 0, targets.masks[row]
        iou = (mask & target).sum() / max(int((mask | target).sum()), 1)
        quality[image, cell] = max(quality[image, cell].item(), iou.item(), 0.05)
    return quality


@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_quality_focal_loss_learns_the_iou_of_the_masks(chunk_bytes: int, generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    criterion = criterion_of(loss_cls=QualityFocalLoss(loss_weight=2.0), mask_loss_chunk_bytes=chunk_bytes)
    losses = criterion(outputs, targets)
    is_class = F.one_hot(targets.labels, 3)[..., :2]
    wanted = is_class * _quality_by_loops(outputs, targets)[..., None]
    assert 0.05 < wanted.max() < 1
    expected = 2 * quality_focal_loss(outputs.cls_logits, wanted).sum() / 5
    assert losses["loss_cls"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["loss_mask"].item() == pytest.approx(criterion_of()(outputs, targets)["loss_mask"].item())


def test_the_quality_is_no_path_for_gradients(generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    outputs.kernels.requires_grad_()
    outputs.cls_logits.requires_grad_()
    losses = criterion_of(loss_cls=QualityFocalLoss())(outputs, targets)
    (losses["loss_cls"] + 0 * losses["loss_mask"]).backward()
    assert outputs.cls_logits.grad.abs().sum() > 0
    assert outputs.kernels.grad.abs().sum() == 0


def test_quality_focal_loss_without_positives() -> None:
    outputs = SOLOv2Outputs(
        torch.zeros(1, 2, 1, requires_grad=True), torch.zeros(1, 2, 3, requires_grad=True), torch.zeros(1, 3, 2, 2)
    )
    targets = targets_of([[1, 1]], [], torch.zeros(0, 2, 2, dtype=torch.bool))
    losses = criterion_of(1, loss_cls=QualityFocalLoss())(outputs, targets)
    assert losses["loss_cls"].item() == pytest.approx(2 * 0.25 * LOG_2)
    assert losses["loss_mask"].item() == 0
    sum(losses.values()).backward()
    assert torch.equal(outputs.kernels.grad, torch.zeros(1, 2, 3))


def test_boundary_weight_adds_the_boundary_loss(generator: torch.Generator) -> None:
    outputs, targets = random_case(generator)
    logits = torch.stack(
        [
            torch.einsum("e,ehw->hw", outputs.kernels[image, cell], outputs.mask_feats[image])
            for image, cell in zip(targets.image_idx, targets.cell_idx, strict=True)
        ]
    )
    expected = boundary_loss(logits, targets.masks[targets.object_idx]).mean()
    plain, with_boundary = (
        criterion_of(loss_mask=DiceLoss(boundary_weight=weight))(outputs, targets)["loss_mask"].item()
        for weight in (0.0, 0.5)
    )
    assert with_boundary - plain == pytest.approx(0.5 * expected.item(), rel=1e-4)
