from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from solo.masks.mask_windows import MaskWindows, _unpack_on_device, unpack_masks
from tests.helpers.counters import OperationCounter
from tests.helpers.ground_truth import pack_masks

CPU = torch.device("cpu")
# Its window is columns 1 and 2 of five rows: ten bits, so a byte is not enough.
MASK = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 1]], dtype=torch.bool)


def test_bits_by_hand() -> None:
    packed = pack_masks(MASK[None])
    assert packed.size == (5, 3)
    assert packed.windows.tolist() == [[1, 0, 3, 5]]
    assert packed.starts.tolist() == [0]
    # Column 1 is 11010, column 2 is 10111, lowest bit first: 11010101 and 11.
    assert packed.bits.tolist() == [0b10101011, 0b00000011]
    assert (packed.windows.dtype, packed.starts.dtype, packed.bits.dtype) == (np.int32, np.int64, np.uint8)


@st.composite
def mask_lists(draw: st.DrawFn) -> Tensor:
    count, height, width = draw(st.integers(0, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    seed, density = draw(st.integers(0, 999)), draw(st.sampled_from([0.02, 0.3, 0.7, 1.0]))
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed)) < density


@given(images=st.lists(mask_lists(), min_size=1, max_size=3), extra=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_round_trip(images: list[Tensor], extra: tuple[int, int]) -> None:
    """Masks of several images and sizes come back, on a background as large as the largest and more."""
    height, width = (max(image.shape[axis] for image in images) + extra[axis - 1] for axis in (1, 2))
    expected = torch.zeros(sum(map(len, images)), height, width, dtype=torch.bool)
    row = 0
    for image in images:
        expected[row : row + len(image), : image.shape[1], : image.shape[2]] = image
        row += len(image)
    parts = [pack_masks(image) for image in images]
    for unpacked in (unpack_masks(parts, (height, width)), _unpack_on_device(parts, (height, width), CPU)):
        assert unpacked.dtype == torch.bool
        assert torch.equal(unpacked, expected)


@given(masks=mask_lists(), seed=st.integers(0, 99))
def test_selections_and_joins(masks: Tensor, seed: int) -> None:
    packed = pack_masks(masks)
    order = torch.randperm(len(masks), generator=torch.Generator().manual_seed(seed))
    chosen = order % 2 == 0
    for index in (order, chosen, slice(1, None), order[:0]):
        assert torch.equal(unpack_masks([packed[index]], packed.size), masks[index])
        assert torch.equal(_unpack_on_device([packed[index]], packed.size, CPU), masks[index])
        assert packed[index].bits is packed.bits
    slices = [packed[i : i + 1] for i in range(len(masks))]
    if slices:
        assert torch.equal(unpack_masks([MaskWindows.cat(slices)], packed.size), masks)
    twice = MaskWindows.cat([packed, pack_masks(masks)])
    assert torch.equal(unpack_masks([twice], packed.size), torch.cat([masks, masks]))


def test_parts_that_do_not_fit() -> None:
    packed = pack_masks(MASK[None])
    with pytest.raises(ValueError, match=r"masks of size \(5, 3\) do not fit into \(5, 2\)"):
        unpack_masks([packed], (5, 2))
    with pytest.raises(ValueError, match="one size"):
        MaskWindows.cat([packed, pack_masks(MASK[None, :4])])
    with pytest.raises(ValueError, match="one size"):
        MaskWindows.cat([])


def test_looks_like_masks() -> None:
    packed = pack_masks(MASK.expand(4, 5, 3))
    assert (len(packed), packed.shape) == (4, (4, 5, 3))
    assert repr(packed) == "MaskWindows(shape=(4, 5, 3), bytes=5)"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_unpacking_never_waits_for_the_device(count: int) -> None:
    parts = [pack_masks(MASK.expand(count, 5, 3)), pack_masks(MASK[None])]
    with OperationCounter() as syncs:
        _unpack_on_device(parts, (8, 8), CPU)
    assert syncs.host_syncs == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nor_does_it_on_a_gpu() -> None:
    masks = torch.rand(6, 50, 70, generator=torch.Generator().manual_seed(0)) < 0.5
    parts = [pack_masks(masks[:2]), pack_masks(masks[2:])]
    unpack_masks(parts, (50, 70), device="cuda")  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        unpacked = unpack_masks(parts, (50, 70), device="cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(unpacked.cpu(), masks)
