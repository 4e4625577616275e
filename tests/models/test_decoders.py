"""The masks of cells of every kind of outputs: decoded for the prediction, compared for the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solo.models import DiceLoss, FocalLoss, Grid, GridAssigner, SOLOv2Criterion
from solo.models.decoders import MASK_DECODERS, SOLOv2MaskDecoder, build_mask_decoder
from solo.ops import dice_loss
from solo.structures import DecoupledSOLOOutputs, GridTargets, GroundTruth, Outputs, SOLOOutputs, SOLOv2Outputs
from tests.helpers.counters import LiveBytes, OperationCounter
from tests.helpers.ground_truth import ground_truth

GRID = Grid(num_grids=(6, 4, 3, 2), strides=(8, 8, 16, 32), scale_ranges=[(1, 40), (20, 80), (40, 160), (60, 999)])
MASK_STRIDES = (4, 4, 8, 16)
CLASSES, CHANNELS = 3, 5
SIZE = (64, 96)
KINDS = ["solo", "decoupled", "solov2"]


def outputs_of(kind: str, *, images: int = 2, grid: Grid = GRID, size: tuple[int, int] = SIZE) -> Outputs:
    generator = torch.Generator().manual_seed(0)

    def sample(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    height, width = size
    cls_logits = sample(images, grid.num_cells, CLASSES)
    if kind == "solov2":
        kernels = sample(images, grid.num_cells, CHANNELS)
        return SOLOv2Outputs(cls_logits, kernels, sample(images, CHANNELS, height // 4, width // 4))
    if kind == "solo":
        return SOLOOutputs(
            cls_logits,
            mask_feats=tuple(sample(images, CHANNELS, height // s, width // s) for s in grid.strides),
            kernels=tuple(sample(cells, CHANNELS) for cells in grid.level_sizes),
            biases=tuple(sample(cells) for cells in grid.level_sizes),
            mask_strides=tuple(s // 2 for s in grid.strides),
        )
    x_logits, y_logits = (
        tuple(
            2 * sample(images, side, 2 * height // s, 2 * width // s)
            for side, s in zip(grid.num_grids, grid.strides, strict=True)
        )
        for _ in "xy"
    )
    return DecoupledSOLOOutputs(cls_logits, x_logits, y_logits, tuple(s // 2 for s in grid.strides))


def level_logits(outputs: Outputs, image: int, level: int) -> Tensor:
    """(G * G, h_l, w_l) logits of a level as mmdet computes them, features doubled and then convolved; float64."""
    if isinstance(outputs, SOLOOutputs):
        doubled = F.interpolate(outputs.mask_feats[level][image][None].double(), scale_factor=2, mode="bilinear")[0]
        return (
            torch.einsum("ce,ehw->chw", outputs.kernels[level].double(), doubled)
            + outputs.biases[level].double()[:, None, None]
        )
    assert isinstance(outputs, DecoupledSOLOOutputs)
    x, y = (logits[level][image].double().sigmoid() for logits in (outputs.x_logits, outputs.y_logits))
    return (y[:, None] * x[None]).flatten(0, 1).logit()


def all_masks(outputs: Outputs, image: int) -> Tensor:
    """(S, h, w) probabilities of every cell, everything at full size."""
    size = (SIZE[0] // 4, SIZE[1] // 4)
    if isinstance(outputs, SOLOv2Outputs):
        return torch.einsum("ce,ehw->chw", outputs.kernels[image], outputs.mask_feats[image]).sigmoid().double()
    if isinstance(outputs, DecoupledSOLOOutputs):
        levels = [
            [F.interpolate(logits[level][image][None].double().sigmoid(), size, mode="bilinear")[0] for logits in axes]
            for axes in [(outputs.x_logits, outputs.y_logits)]
            for level in range(GRID.num_levels)
        ]
        return torch.cat([(y[:, None] * x[None]).flatten(0, 1) for x, y in levels])
    levels = [level_logits(outputs, image, level).sigmoid() for level in range(GRID.num_levels)]
    return torch.cat([F.interpolate(level[None], size, mode="bilinear")[0] for level in levels])


# ---------------------------------------------------------------------------------------------------------- by hand
def test_a_product_of_a_column_and_a_row() -> None:
    """Cell (row 1, column 0) of two by two: certain where both of its maps are."""
    x = torch.full((1, 2, 2, 2), -99.0)
    x[0, 0, :, 0] = 99
    y = torch.full((1, 2, 2, 2), -99.0)
    y[0, 1, 1, :] = 99
    outputs = DecoupledSOLOOutputs(torch.zeros(1, 4, 1), (x,), (y,), (4,))
    decoder = build_mask_decoder(outputs)
    assert decoder.mask_size == (2, 2)
    assert decoder.decode(0, torch.tensor([2]))[0].tolist() == [[0, 0], [1, 0]]
    assert decoder.decode(0, torch.arange(4)).sum() == 1


def test_a_learned_kernel_is_doubled() -> None:
    """One pixel of features: a constant mask of two by two pixels, sigmoid(2 * 3 + 1)."""
    outputs = SOLOOutputs(
        torch.zeros(1, 1, 1),
        mask_feats=(torch.full((1, 1, 1, 1), 3.0),),
        kernels=(torch.full((1, 1), 2.0),),
        biases=(torch.ones(1),),
        mask_strides=(4,),
    )
    decoded = build_mask_decoder(outputs).decode(0, torch.tensor([0]))
    torch.testing.assert_close(decoded, torch.full((1, 2, 2), 7.0).sigmoid())


# ----------------------------------------------------------------------------------------------------------- oracle
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image", [0, 1])
def test_masks_are_those_of_all_cells_at_once(kind: str, image: int, generator: torch.Generator) -> None:
    outputs = outputs_of(kind)
    expected = all_masks(outputs, image)
    decoder = build_mask_decoder(outputs)
    assert decoder.mask_size == tuple(expected.shape[1:])
    for cells in (torch.arange(GRID.num_cells), torch.randint(GRID.num_cells, (20,), generator=generator)):
        decoded = decoder.decode(image, cells)
        assert decoded.dtype == torch.float32
        torch.testing.assert_close(decoded.double(), expected[cells], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_no_cell(kind: str) -> None:
    assert build_mask_decoder(outputs_of(kind)).decode(0, torch.zeros(0, dtype=torch.int64)).shape == (0, 16, 24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(kind: str, dtype: torch.dtype) -> None:
    def halved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype)
        return tuple(map(halved, value)) if value and isinstance(value[0], Tensor) else value

    outputs = outputs_of(kind)
    cells = torch.arange(GRID.num_cells)
    half = build_mask_decoder(type(outputs)(*map(halved, outputs))).decode(0, cells)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, build_mask_decoder(outputs).decode(0, cells), rtol=0, atol=0.1)


def objects(*boxes: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> GroundTruth:
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return ground_truth(masks, torch.arange(len(boxes)) % CLASSES)


def targets_of(*images: GroundTruth) -> GridTargets:
    return GridAssigner(grid=GRID, num_classes=CLASSES, shared_cell_masks="owner")(images, (SIZE[0] // 4, SIZE[1] // 4))


CROWDED = objects((4, 4, 30, 30), (8, 2, 90, 60), (40, 10, 80, 50), (60, 30, 95, 63)), objects((10, 6, 60, 50))
BATCHES = {
    "objects": CROWDED,
    "one image empty": (CROWDED[0], objects()),
    "a level alone": (objects((4, 4, 14, 14)), objects()),
    "none": (objects(), objects()),
}


def leaves_of(outputs: Outputs) -> list[Tensor]:
    tensors = [value for field in outputs[1:] for value in (field if isinstance(field, tuple) else (field,))]
    return [value.requires_grad_() for value in tensors if isinstance(value, Tensor)]


def straightforward(outputs: Outputs, targets: GridTargets, weights: Tensor) -> Tensor:
    """One mask a positive, by the published formula and autograd, in double precision."""
    first_cells = [sum(GRID.level_sizes[:level]) for level in range(GRID.num_levels)]
    total = torch.zeros((), dtype=torch.float64)
    for row, (image, cell, row_of_object) in enumerate(
        zip(targets.image_idx.tolist(), targets.cell_idx.tolist(), targets.object_idx.tolist(), strict=True)
    ):
        level = max(level for level, first in enumerate(first_cells) if cell >= first)
        stride = MASK_STRIDES[level]
        target = (targets.masks if stride == 4 else targets.coarse_masks[stride])[row_of_object].double()
        mask = level_logits(outputs, image, level)[cell - first_cells[level]].sigmoid()
        loss = 1 - 2 * (mask * target).sum() / ((mask**2).sum() + target.sum() + 2e-3)
        total = total + weights[row] * loss
    return total


@pytest.mark.parametrize("kind", ["solo", "decoupled"])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("chunk_bytes", [1, 2**24])
def test_loss_and_gradients_against_loops(kind: str, batch: str, chunk_bytes: int) -> None:
    outputs, targets = outputs_of(kind), targets_of(*BATCHES[batch])
    if batch == "objects":
        levels = torch.tensor(targets.positives_per_level).sum(dim=0)
        assert (levels > 0).all(), "the case must have positives on every level"
    weights = torch.linspace(0.5, 2, len(targets.cell_idx))
    leaves = leaves_of(outputs)

    def evaluate(loss: Callable[[], Tensor]) -> list[Tensor]:
        for leaf in leaves:
            leaf.grad = None
        value = loss()
        if value.requires_grad:
            value.backward()
        return [value.detach().float(), *(torch.zeros_like(x) if x.grad is None else x.grad for x in leaves)]

    decoder = build_mask_decoder(outputs)
    found = evaluate(lambda: decoder.mask_loss(targets, weights=weights, loss=dice_loss, chunk_bytes=chunk_bytes))
    assert all(leaf.grad is not None for leaf in leaves), "zeros, never missing"
    for one, other in zip(found, evaluate(lambda: straightforward(outputs, targets, weights)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_outputs(kind: str) -> None:
    plain = tuple(outputs_of(kind))
    with pytest.raises(TypeError, match="no mask decoder for outputs of type tuple"):
        build_mask_decoder(plain)


def test_outputs_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnOutputs(SOLOv2Outputs):
        pass

    monkeypatch.setitem(MASK_DECODERS, OwnOutputs, SOLOv2MaskDecoder)
    outputs = outputs_of("solov2")
    cells = torch.arange(3)
    assert torch.equal(
        build_mask_decoder(OwnOutputs(*outputs)).decode(1, cells), build_mask_decoder(outputs).decode(1, cells)
    )


# -------------------------------------------------------------------------------------------------------- resources
FULL = Grid(num_grids=(40, 36, 24, 16, 12), strides=(8, 8, 16, 32, 32), scale_ranges=[(1, 999)] * 5)


@pytest.mark.parametrize("kind", KINDS)
def test_waits_for_the_device(kind: str) -> None:
    """None in the training; in the prediction one decoding waits as often as another, whatever its cells and levels."""
    outputs, targets = outputs_of(kind), targets_of(*CROWDED)
    leaves_of(outputs)
    criterion = SOLOv2Criterion(num_classes=CLASSES, loss_cls=FocalLoss(), loss_mask=DiceLoss())
    with OperationCounter() as syncs:
        sum(criterion(outputs, targets).values()).backward()
    assert syncs.host_syncs == []
    names = []
    for cells in (3, GRID.num_cells):
        with OperationCounter() as syncs, torch.no_grad():
            build_mask_decoder(outputs).decode(0, torch.arange(cells))
        names.append(syncs.host_syncs)
    assert names[0] == names[1]
    assert len(names[0]) <= 1


@pytest.mark.parametrize("kind", ["solo", "decoupled"])
def test_memory_is_that_of_the_decoded_cells(kind: str) -> None:
    """At 256x320: 3,872 masks would be 79 MB at full size."""
    outputs = outputs_of(kind, images=1, grid=FULL, size=(256, 320))
    pixels = 64 * 80
    for count in (10, 80):
        cells = torch.linspace(0, FULL.num_cells - 1, count).long()
        with LiveBytes() as alive, torch.no_grad():
            build_mask_decoder(outputs).decode(0, cells)
        assert alive.peak <= 4 * count * pixels * 4 + 2**14


@pytest.mark.parametrize("kind", ["solo", "decoupled"])
def test_memory_of_the_loss_does_not_grow_with_the_positives(kind: str) -> None:
    few, many = (objects(*boxes) for boxes in ([(4, 4, 30, 30)], [(4 + i, 4, 30 + i, 30) for i in range(60)]))
    peaks = []
    for truth in (few, many):
        outputs, targets = outputs_of(kind, images=1), targets_of(truth)
        leaves_of(outputs)
        with LiveBytes() as alive:
            weights = torch.ones(len(targets.cell_idx))
            decoder = build_mask_decoder(outputs)
            decoder.mask_loss(targets, weights=weights, loss=dice_loss, chunk_bytes=4 * 16 * 24 * 2).backward()
        peaks.append(alive.peak)
    kernels_and_indices = 4 * len(targets.cell_idx) * (4 * CHANNELS + 16)
    assert peaks[1] <= peaks[0] + kernels_and_indices + 4 * 4 * 16 * 24 * 2
