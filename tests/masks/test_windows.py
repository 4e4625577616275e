from __future__ import annotations

import pytest
import torch

from solo.masks import windows
from solo.masks.windows import Window, mask_extents, window_groups


def masks_of(*extents: tuple[int, int, int, int]) -> torch.Tensor:
    masks = torch.zeros(len(extents), 9, 7, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(masks, extents, strict=True):
        mask[top:bottom, left:right] = True
    return masks


EXTENTS = [(0, 9, 0, 7), (2, 3, 4, 5), (0, 0, 0, 0), (8, 9, 6, 7), (1, 4, 0, 2)]


def test_extents() -> None:
    assert mask_extents(masks_of(*EXTENTS)).tolist() == [list(extent) for extent in EXTENTS]


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_extents_of_nothing(shape: tuple[int, ...]) -> None:
    extents = mask_extents(torch.zeros(shape, dtype=torch.bool))
    assert extents.tolist() == [[0, 0, 0, 0]] * shape[0]
    assert extents.dtype == torch.int64


def test_extents_of_a_view() -> None:
    rows_and_columns = mask_extents(masks_of(*EXTENTS))[:, [2, 3, 0, 1]]
    assert torch.equal(mask_extents(masks_of(*EXTENTS).transpose(1, 2)), rows_and_columns)


def test_a_cpu_takes_masks_one_by_one() -> None:
    groups = list(window_groups(masks_of(*EXTENTS), pixels_per_mask=63))
    assert groups == [(range(i, i + 1), Window(*EXTENTS[i])) for i in (0, 1, 3, 4)]


def test_groups_share_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "masks_per_group", lambda pixels, device: 2)
    groups = list(window_groups(masks_of(*EXTENTS[1:], (0, 0, 0, 0), (0, 0, 0, 0)), pixels_per_mask=63))
    assert groups == [(range(0, 2), Window(2, 3, 4, 5)), (range(2, 4), Window(1, 9, 0, 7))]


def test_group_size() -> None:
    assert windows.masks_per_group(63, torch.device("cpu")) == 1
    assert windows.masks_per_group(windows.DEVICE_CHUNK_PIXELS // 4, torch.device("cuda")) == 4
    assert windows.masks_per_group(windows.DEVICE_CHUNK_PIXELS * 4, torch.device("cuda")) == 1
    assert windows.masks_per_group(0, torch.device("cuda")) > 1
