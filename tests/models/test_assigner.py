from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.masks.mask_windows import unpack_masks
from solo.structures import GridTargets
from tests.helpers.assigner_oracle import (
    NUM_CLASSES,
    assigner_of,
    cell_of,
    loop_oracle,
    pairs,
    random_objects,
    truth_of,
)
from tests.helpers.counters import OperationCounter
from tests.helpers.ground_truth import ground_truth
from tests.helpers.tiny_model import rectangles


@pytest.mark.parametrize("shared_cell", ["later", "smaller"])
@pytest.mark.parametrize("padded_size", [(32, 32), (64, 96), (160, 32)])
@pytest.mark.parametrize("counts", [(6,), (40, 0, 15), (0, 0)])
def test_against_loops(
    counts: tuple[int, ...], padded_size: tuple[int, int], shared_cell: str, generator: torch.Generator
) -> None:
    levels = dict(num_grids=(7, 5, 2), scale_ranges=((1, 24), (16, 48), (40, 400)))
    images = [random_objects(count, padded_size, generator) for count in counts]
    targets = assigner_of(**levels, shared_cell=shared_cell)(images, (padded_size[0] // 4, padded_size[1] // 4))
    expected, labels = loop_oracle(images, **levels, padded_size=padded_size, shared_cell=shared_cell)
    assert pairs(targets) == expected
    assert targets.labels.tolist() == labels
    assert int(targets.num_cells) == len({(image, cell) for image, cell, _ in expected})
    assert targets.positives_per_image == [sum(pair[0] == image for pair in expected) for image in range(len(counts))]
    assert targets.image_idx.tolist() == sorted(targets.image_idx.tolist())
    assert torch.equal(targets.masks, unpack_masks([image.masks for image in images], targets.masks.shape[1:]))


# ---------------------------------------------------------------------------------------------------------- by hand
@pytest.mark.parametrize(
    ("box", "cells"),
    [
        # A 4x4 grid over 16 x 16 pixels: cells of 4 pixels. The region is a fifth of the box around its middle.
        pytest.param((4, 4, 8, 8), [5], id="within one cell"),
        pytest.param((0, 0, 2, 2), [0], id="corner"),
        pytest.param((14, 14, 16, 16), [15], id="the other corner"),
        pytest.param((5, 4, 9, 8), [5], id="region from 6.6 to 7.4"),
        pytest.param((5.8, 4, 9.8, 8), [5, 6], id="region across a vertical border"),
        pytest.param((4, 5.8, 8, 9.8), [5, 9], id="region across a horizontal border"),
        pytest.param((5.8, 5.8, 9.8, 9.8), [5, 6, 9, 10], id="region across both"),
        pytest.param((-30, -30, 42, 42), [0, 1, 2, 4, 5, 6, 8, 9, 10], id="large: 3x3 cells, no more"),
        pytest.param((-90, 5, 92, 7), [4, 5], id="wide: clipped at the left edge and to 3 cells"),
        pytest.param((12, 12, 20, 20), [15], id="centre on the far edge's corner"),
    ],
)
def test_cells_of_one_object(box: tuple[float, ...], cells: list[int]) -> None:
    targets = assigner_of()([truth_of([box], labels=[2])], (4, 4))
    assert targets.cell_idx.tolist() == cells
    labels = [NUM_CLASSES] * 16
    for cell in cells:
        labels[cell] = 2
    assert targets.labels.tolist() == [labels]
    assert targets.object_idx.tolist() == [0] * len(cells)
    assert int(targets.num_cells) == len(cells)


@pytest.mark.parametrize(
    ("side", "levels"),
    [(0.5, []), (1, [0]), (7, [0]), (8, [0, 1]), (16, [0, 1]), (16.5, [1]), (32, [1]), (33, [])],
)
def test_both_ends_of_a_scale_range_are_inside(side: float, levels: list[int]) -> None:
    """sqrt(width * height) decides: here a box of half the width and twice the height."""
    box = (16 - side / 4, 16 - side, 16 + side / 4, 16 + side)
    targets = assigner_of((1, 1), ((1, 16), (8, 32)))([truth_of([box], mask_size=(8, 8))], (8, 8))
    assert targets.cell_idx.tolist() == levels


@pytest.mark.parametrize("extent", [128, 1344])
@pytest.mark.parametrize("side", [5, 12, 24, 36, 40])
def test_a_centre_on_a_border_is_rounded_as_in_the_reference_implementations(side: int, extent: int) -> None:
    """`floor`, `//` and a multiplication by the number of cells each put many of these elsewhere."""
    borders = [column * extent / side for column in range(side)]
    truth = truth_of([(x, 8, x, 8) for x in borders], mask_size=(8, extent // 4))
    targets = assigner_of((side,), ((0, 1),))([truth], (8, extent // 4))
    columns = (targets.cell_idx % side).tolist()
    assert columns == [cell_of(np.float32(x), extent, side) for x in borders]


@pytest.mark.parametrize(("pos_scale", "cells"), [(0.0, [5]), (0.2, [5]), (0.9, [0, 1, 2, 4, 5, 6, 8, 9, 10])])
def test_pos_scale(pos_scale: float, cells: list[int]) -> None:
    targets = assigner_of(pos_scale=pos_scale)([truth_of([(3, 3, 9, 9)], centers=[(6, 6)])], (4, 4))
    assert targets.cell_idx.tolist() == cells


@pytest.mark.parametrize(("shared_cell", "label"), [("later", 2), ("smaller", 1)])
def test_two_objects_in_one_cell(shared_cell: str, label: int) -> None:
    truth = truth_of([(5, 5, 7, 7), (4, 4, 8, 8)], labels=[1, 2])
    targets = assigner_of(shared_cell=shared_cell)([truth], (4, 4))
    assert pairs(targets) == [(0, 5, 0), (0, 5, 1)], "both masks are trained"
    assert targets.labels[0, 5] == label
    assert int(targets.num_cells) == 1


def test_a_mask_is_stored_once_and_padded_with_background() -> None:
    small = truth_of([(8, 4, 12, 8)], labels=[1], mask_size=(2, 3))
    large = truth_of([(4, 4, 8, 8), (0, 0, 4, 4)], labels=[0, 2], mask_size=(4, 4))
    targets = assigner_of()([small, large], (4, 4))
    assert targets.masks.shape == (3, 4, 4)
    assert targets.masks.dtype == torch.bool
    assert targets.masks.nonzero().tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 1]]
    assert pairs(targets)[-2:] == [(1, 0, 2), (1, 5, 1)]
    assert targets.positives_per_image == [1, 2]


@pytest.mark.parametrize("images", [1, 3])
def test_no_object_at_all(images: int) -> None:
    targets = assigner_of()([truth_of([]) for _ in range(images)], (4, 4))
    assert targets.labels.tolist() == [[NUM_CLASSES] * 16] * images
    assert targets.positives_per_image == [0] * images
    assert int(targets.num_cells) == 0
    assert targets.masks.shape == (0, 4, 4)
    full = assigner_of()([truth_of([(4, 4, 8, 8)])], (4, 4))
    for name in ("labels", "image_idx", "cell_idx", "object_idx", "masks", "num_cells"):
        empty, other = getattr(targets, name), getattr(full, name)
        assert empty.dtype == other.dtype, name
        assert empty.ndim == other.ndim, name


@pytest.mark.parametrize("center", [(float("nan"), float("nan")), (float("nan"), 3.0), (3.0, float("inf"))])
def test_an_object_without_a_centre_trains_nothing(center: tuple[float, float]) -> None:
    truth = truth_of([(4, 4, 8, 8), (0, 0, 4, 4)], labels=[0, 1], centers=[center, (2, 2)])
    targets = assigner_of()([truth], (4, 4))
    assert pairs(targets) == [(0, 0, 1)]
    assert len(targets.masks) == 2, "rows keep pointing to the right objects"


def test_an_object_of_one_pixel() -> None:
    targets = assigner_of()([ground_truth(rectangles((16, 16), (9, 2, 10, 3)), [1])], (4, 4))
    assert pairs(targets) == [(0, 2, 0)]


def test_every_class() -> None:
    boxes = [(4.0 * column, 0, 4 + 4.0 * column, 4) for column in range(NUM_CLASSES)]
    targets = assigner_of()([truth_of(boxes, labels=list(range(NUM_CLASSES)))], (4, 4))
    assert targets.labels[0, :4].tolist() == [*range(NUM_CLASSES), NUM_CLASSES]


def test_more_than_600_objects(generator: torch.Generator) -> None:
    truth = random_objects(700, (64, 64), generator)
    targets = assigner_of((40,), ((1, 2000),))([truth], (16, 16))
    assert len(targets.masks) == 700
    assert targets.object_idx.unique().numel() == int(np.isfinite(truth.centers).all(axis=1).sum())
    assert sum(targets.positives_per_image) == len(targets.cell_idx)


def test_targets_are_on_the_given_device() -> None:
    truth = truth_of([(4, 4, 8, 8)])
    targets = assigner_of()([truth], (4, 4), device="meta")
    for name in ("labels", "image_idx", "cell_idx", "object_idx", "masks", "num_cells"):
        assert getattr(targets, name).device.type == "meta", name
    assert targets.positives_per_image == [1]


def test_ground_truth_is_left_alone() -> None:
    truth = truth_of([(-30, -30, 42, 42), (4, 4, 8, 8)], labels=[1, 2])
    before = copy.deepcopy(truth)
    assigner_of(shared_cell="smaller")([truth], (8, 8))
    assert all(np.array_equal(field, old) for field, old in zip(truth[:3], before[:3], strict=True))
    assert np.array_equal(truth.masks.bits, before.masks.bits)


@pytest.mark.parametrize(("label", "shown"), [(3, "3"), (-1, "-1"), (99, "99")])
def test_a_label_that_the_model_does_not_have(label: int, shown: str) -> None:
    with pytest.raises(ValueError, match=f"label {shown} in the data, but the model has 3 classes"):
        assigner_of()([truth_of([(0, 0, 4, 4)], labels=[0]), truth_of([(0, 0, 4, 4)], labels=[label])], (4, 4))


@pytest.mark.parametrize(("shared_cell", "owner"), [("later", 1), ("smaller", 0)])
def test_a_shared_cell_may_train_its_owner_alone(shared_cell: str, owner: int) -> None:
    truth = truth_of([(4, 4, 8, 8), (3, 3, 9, 9)], labels=[1, 2])
    both = assigner_of(shared_cell=shared_cell)([truth], (4, 4))
    alone = assigner_of(shared_cell=shared_cell, shared_cell_masks="owner")([truth], (4, 4))
    assert [row for _, _, row in pairs(both)] == [0, 1]
    assert [row for _, _, row in pairs(alone)] == [owner]
    assert torch.equal(alone.labels, both.labels) and torch.equal(alone.num_cells, both.num_cells)


@pytest.mark.parametrize("shared_cell_masks", ["all", "owner"])
@pytest.mark.parametrize("max_positives", [None, 5])
def test_positives_are_sorted_by_image_and_level(
    shared_cell_masks: str, max_positives: int | None, generator: torch.Generator
) -> None:
    assigner = assigner_of(
        (7, 5, 2), ((1, 24), (16, 48), (40, 400)), shared_cell_masks=shared_cell_masks, max_positives=max_positives
    )
    targets = assigner([random_objects(count, (64, 64), generator) for count in (25, 0, 9)], (16, 16))
    level = torch.bucketize(targets.cell_idx, torch.tensor([49, 74]), right=True)
    places = (3 * targets.image_idx + level).tolist()
    assert places == sorted(places)
    counts = torch.tensor(targets.positives_per_level)
    assert counts.flatten().tolist() == [places.count(place) for place in range(9)]
    assert counts.sum(dim=1).tolist() == targets.positives_per_image
    if shared_cell_masks == "owner" and max_positives is None:
        assert len(targets.cell_idx) == int(targets.num_cells)


def test_unknown_rule_for_the_masks_of_shared_cells() -> None:
    with pytest.raises(ValueError, match="'all' or 'owner', not 'both'"):
        assigner_of(shared_cell_masks="both")


def test_unknown_rule_for_shared_cells() -> None:
    with pytest.raises(ValueError, match="'later' or 'smaller', not 'larger'"):
        assigner_of(shared_cell="larger")


# ------------------------------------------------------------------------------------------- cap on the positives
def test_each_object_in_turn_keeps_its_most_central_cells() -> None:
    large, small = (-30.0, -30.0, 42.0, 42.0), (4.0, 4.0, 8.0, 8.0)
    whole = assigner_of()([truth_of([large, small, large], labels=[1, 2, 0])], (4, 4))
    assert whole.positives_per_image == [19]

    def kept(limit: int) -> list[tuple[int, int, int]]:
        return pairs(assigner_of(max_positives=limit)([truth_of([large, small, large])], (4, 4)))

    assert kept(1) == [(0, 5, 0)]
    assert kept(3) == [(0, 5, 0), (0, 5, 1), (0, 5, 2)]
    # The small one has no other cell; next are the neighbours of the centre above it, in row-major order.
    assert kept(5) == [(0, 1, 0), (0, 1, 2), (0, 5, 0), (0, 5, 1), (0, 5, 2)]
    assert kept(19) == kept(100) == pairs(whole)


@pytest.mark.parametrize("limit", [1, 7, 30])
def test_the_cap_is_by_image_and_changes_no_label(limit: int, generator: torch.Generator) -> None:
    images = [random_objects(count, (64, 64), generator) for count in (25, 0, 2)]
    levels = ((7, 5, 2), ((1, 24), (16, 48), (40, 400)))
    whole = assigner_of(*levels)(images, (16, 16))
    capped = assigner_of(*levels, max_positives=limit)(images, (16, 16))
    assert capped.positives_per_image == [min(count, limit) for count in whole.positives_per_image]
    assert set(pairs(capped)) <= set(pairs(whole))
    assert capped.image_idx.tolist() == sorted(capped.image_idx.tolist())
    assert torch.equal(capped.labels, whole.labels)
    assert torch.equal(capped.num_cells, whole.num_cells)
    if limit == 30:
        objects = {row for _, _, row in pairs(whole)}
        assert {row for _, _, row in pairs(capped)} == objects, "as long as there is room every object keeps a cell"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_cap_below_one(limit: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, or None for all positives, not {limit}"):
        assigner_of(max_positives=limit)


# ------------------------------------------------------------------------------------------------------- resources
@pytest.mark.parametrize("count", [0, 7, 300])
def test_operations_do_not_grow_with_the_objects(count: int, generator: torch.Generator) -> None:
    images = [random_objects(count, (64, 64), generator) for _ in range(2)]
    assigner = assigner_of((7, 5, 2), ((1, 24), (16, 48), (40, 400)))
    with OperationCounter() as counter:
        assigner(images, (16, 16))
    assert counter.host_syncs == []
    with OperationCounter() as drawing_the_masks:
        unpack_masks([image.masks for image in images], (16, 16))
    assert counter.kernels == drawing_the_masks.kernels


def test_nothing_but_targets_and_masks_is_sent_to_the_device() -> None:
    images = [truth_of([(4, 4, 8, 8)]), truth_of([(4, 4, 8, 8)] * 2)]
    unpack_masks([images[0].masks], (4, 4), device="meta")  # the first call sends a table of all bytes
    with OperationCounter() as counter:
        assigner_of()(images, (4, 4), device="meta")
    bits, columns_of_the_windows, targets = 1, 1, 1
    assert counter.host_to_device == bits + columns_of_the_windows + targets
    assert counter.host_syncs == []


# ------------------------------------------------------------------------------------------------------- properties
corner = st.integers(0, 24)
boxes_of_different_areas = st.lists(
    st.tuples(corner, corner, st.integers(1, 12), st.integers(1, 12)),
    min_size=1,
    max_size=6,
    unique_by=lambda b: b[2] * b[3],
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(boxes=boxes_of_different_areas, data=st.data())
def test_smaller_does_not_depend_on_the_order(boxes: list[tuple[int, ...]], data: st.DataObject) -> None:
    corners: list[tuple[float, ...]] = [(x, y, x + width, y + height) for x, y, width, height in boxes]
    labels = [index % NUM_CLASSES for index in range(len(boxes))]
    order = data.draw(st.permutations(range(len(boxes))))
    assigner = assigner_of((3, 2), ((1, 9), (4, 20)), shared_cell="smaller")
    one = assigner([truth_of(corners, labels=labels, mask_size=(8, 8))], (8, 8))
    shuffled = truth_of([corners[row] for row in order], labels=[labels[row] for row in order], mask_size=(8, 8))
    other = assigner([shuffled], (8, 8))
    assert torch.equal(one.labels, other.labels)
    assert int(one.num_cells) == int(other.num_cells)
    assert pairs(one) == sorted((image, cell, order[row]) for image, cell, row in pairs(other))


def _positives_of(targets: GridTargets, image: int) -> tuple[list[int], list[Tensor]]:
    mine = targets.image_idx == image
    return targets.cell_idx[mine].tolist(), list(targets.masks[targets.object_idx[mine]])


def test_an_image_has_the_same_targets_in_any_batch(generator: torch.Generator) -> None:
    images = [random_objects(count, (64, 64), generator) for count in (5, 0, 9)]
    assigner = assigner_of((6, 3), ((1, 40), (20, 400)))
    together = assigner(images, (16, 16))
    for row, image in enumerate(images):
        alone = assigner([image], (16, 16))
        assert torch.equal(together.labels[row], alone.labels[0])
        cells, masks = _positives_of(together, row)
        cells_alone, masks_alone = _positives_of(alone, 0)
        assert cells == cells_alone
        assert all(torch.equal(*pair) for pair in zip(masks, masks_alone, strict=True))
