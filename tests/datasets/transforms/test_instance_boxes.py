from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from solo.datasets import InstanceMasks
from solo.datasets.transforms.instance_boxes import InstanceBoxes

BOXES = np.array([[2.0, 3.0, 10.0, 12.0], [-5.5, 0.25, 70.1, 41.0], [7.0, 7.0, 7.0, 7.0]], np.float32)


def both(boxes: np.ndarray = BOXES) -> tuple[InstanceBoxes, HorizontalBoxes]:
    return InstanceBoxes.of(boxes.copy()), HorizontalBoxes(boxes)


def assert_same(ours: BaseBoxes, peer: BaseBoxes) -> None:
    assert ours.tensor.dtype == peer.tensor.dtype
    assert torch.equal(ours.tensor, peer.tensor)
    np.testing.assert_array_equal(ours.numpy(), peer.numpy())


CHANGES: dict[str, Callable[[BaseBoxes], object]] = {
    "rescale": lambda boxes: boxes.rescale_((1.37, 0.71)),
    "clip": lambda boxes: boxes.clip_((40, 64)),
    "horizontal": lambda boxes: boxes.flip_((40, 64)),
    "vertical": lambda boxes: boxes.flip_((40, 64), "vertical"),
    "diagonal": lambda boxes: boxes.flip_((40, 64), direction="diagonal"),
    "translate": lambda boxes: boxes.translate_((3.5, -2)),
    "resize": lambda boxes: boxes.resize_((1.5, 0.5)),
    "rotate": lambda boxes: boxes.rotate_((20.0, 20.0), 30.0),
    "write": lambda boxes: boxes.tensor.mul_(2),
}


@given(
    numbers=st.lists(st.floats(-1e4, 1e4, width=32), max_size=40),
    names=st.lists(st.sampled_from(list(CHANGES)), max_size=5),
)
def test_any_changes_are_those_of_mmdet(numbers: list[float], names: list[str]) -> None:
    ours, peer = both(np.array(numbers[: len(numbers) // 4 * 4], np.float32).reshape(-1, 4))
    for name in names:
        CHANGES[name](ours)
        CHANGES[name](peer)
        assert_same(ours, peer)


def test_unknown_direction() -> None:
    with pytest.raises(ValueError, match="not 'sideways'"):
        both()[0].flip_((40, 64), "sideways")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda boxes: pickle.loads(pickle.dumps(boxes))])
def test_copies_and_selections(copied: Callable[[InstanceBoxes], InstanceBoxes]) -> None:
    ours, peer = both()
    again = copied(ours)
    ours.rescale_((2, 2))
    assert_same(again, peer)
    chosen = again[np.array([2, 0])]
    assert isinstance(chosen, InstanceBoxes)
    assert_same(chosen, peer[np.array([2, 0])])
    assert_same(again.cat([again, chosen]), peer.cat([peer, peer[np.array([2, 0])]]))
    np.testing.assert_array_equal(again.is_inside((40, 64)), peer.is_inside((40, 64)))
    assert_same(again.empty_boxes(), peer.empty_boxes())


def test_mmdet_knows_the_type() -> None:
    """It asks masks for boxes of the type of those it has."""
    ours, peer = both()
    assert type(ours.convert_to("hbox")) is HorizontalBoxes
    assert_same(ours.convert_to("hbox"), peer)
    bitmaps = BitmapMasks(np.ones((1, 4, 6), np.uint8), 4, 6)
    for masks in (bitmaps, InstanceMasks.of(bitmaps)):
        assert masks.get_bboxes(InstanceBoxes).tensor.tolist() == [[0, 0, 6, 4]]
    assert_same(peer.convert_to(InstanceBoxes), ours)
    assert torch.equal(HorizontalBoxes.overlaps(ours, ours), HorizontalBoxes.overlaps(peer, peer))
