"""Binary masks on their way to the device: each cut to a window and packed to bits, unpacked in one go for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from solo.masks.bitmaps import boxes_from_masks

_BITS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskWindows:
    """N binary masks of one size. Selecting objects shares the bits, so any order and choice of them is sound.

    Outside of its window a mask is background. Inside, pixels are stored column by column, the lowest bit of a byte
    first: pixel (row, column) of window i is bit `starts[i] + (column - x1) * (y2 - y1) + row - y1` of the stream.

    Attributes:
        size: (h, w) of every mask, pixels.
        windows: (N, 4) int32, x1 y1 x2 y2 in pixels, x2 and y2 exclusive. On the host, as the sizes are needed there.
        starts: (N,) int64, first bit of each window. On the host.
        bits: (M,) uint8, the stream; the only part that moves to a device.
    """

    size: tuple[int, int]
    windows: Tensor
    starts: Tensor
    bits: Tensor

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Any) -> MaskWindows:
        """The masks that a slice, positions or a boolean mask over the N objects selects."""
        return replace(self, windows=self.windows[index], starts=self.starts[index])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, bytes={len(self.bits)}, device={self.device})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, h, w)."""
        return len(self), *self.size

    @property
    def device(self) -> torch.device:
        """Where the bits are."""
        return self.bits.device

    def to(self, *args: Any, **kwargs: Any) -> MaskWindows:
        """The same masks with their bits moved as `Tensor.to` does."""
        return replace(self, bits=self.bits.to(*args, **kwargs))

    @staticmethod
    def cat(parts: Sequence[MaskWindows]) -> MaskWindows:
        """The masks of all parts in a row; the name and form in which `InstanceData` looks for it.

        Raises:
            ValueError: no part, or parts of different sizes.
        """
        if len({part.size for part in parts}) != 1:
            raise ValueError(f"expected masks of one size, got the sizes {[part.size for part in parts]}")
        windows = torch.cat([part.windows for part in parts])
        if all(part.bits is parts[0].bits for part in parts):
            return replace(parts[0], windows=windows, starts=torch.cat([part.starts for part in parts]))
        starts, bits = _join(parts)
        return replace(parts[0], windows=windows, starts=torch.from_numpy(starts), bits=bits)


def pack_masks(masks: Tensor) -> MaskWindows:
    """Cut each mask to its tightest window and pack it. Reads values, so meant for the host.

    Args:
        masks: (N, h, w) bool.
    """
    windows = boxes_from_masks(masks).int()
    pixels = [mask[y1:y2, x1:x2].T.flatten() for mask, (x1, y1, x2, y2) in zip(masks, windows.tolist(), strict=True)]
    stream = torch.cat([*pixels, masks.new_zeros(0)])
    stream = torch.nn.functional.pad(stream, (0, -len(stream) % _BITS)).view(-1, _BITS)
    weights = (1 << torch.arange(_BITS)).to(stream.device)
    return MaskWindows(
        size=(masks.shape[1], masks.shape[2]),
        windows=windows.cpu(),
        starts=first_bits(windows.cpu()),
        bits=(stream * weights).sum(dim=1).to(torch.uint8),
    )


def first_bits(windows: Tensor) -> Tensor:
    """(N,) int64, first bit of each of the windows (N, 4) in a stream that holds one after the other."""
    sides = windows[:, 2:].long() - windows[:, :2]
    areas = sides.prod(dim=1)
    return areas.cumsum(dim=0) - areas


def unpack_masks(parts: Sequence[MaskWindows], size: tuple[int, int]) -> Tensor:
    """Draw the masks of several images on background, without a wait for the device.

    Args:
        parts: the masks of each image, all on one device; their sizes may differ.
        size: (h, w) to draw at; what an image's masks lack is background at the bottom and right.

    Returns:
        (sum of N, h, w) bool on the device of the bits, images in the given order.

    Raises:
        ValueError: masks larger than `size`.
    """
    height, width = size
    for part in parts:
        if part.size[0] > height or part.size[1] > width:
            raise ValueError(f"masks of size {part.size} do not fit into {size} (height, width)")
    return _draw_windows(parts, size) if parts[0].bits.is_cpu else _draw_pixels(parts, size)


def _draw_windows(parts: Sequence[MaskWindows], size: tuple[int, int]) -> Tensor:
    """Draw on the host, window by window: a call of numpy's for each takes less than the tensor operations for all."""
    masks = np.zeros((sum(map(len, parts)), *size), np.bool_)
    unfilled = iter(masks.transpose(0, 2, 1))
    for part in parts:
        pixels = np.unpackbits(part.bits.numpy(), bitorder="little").view(np.bool_)
        for (x1, y1, x2, y2), start in zip(part.windows.tolist(), part.starts.tolist(), strict=True):
            width, height = x2 - x1, y2 - y1
            next(unfilled)[x1:x2, y1:y2] = pixels[start : start + width * height].reshape(width, height)
    return torch.from_numpy(masks)


def _draw_pixels(parts: Sequence[MaskWindows], size: tuple[int, int]) -> Tensor:
    """Draw on a device, all pixels of all windows at once: each call of it takes long, however little it does."""
    height, width = size
    starts, bits = _join(parts)
    on_host = _columns(np.concatenate([part.windows.numpy() for part in parts]), starts, size)
    # The total is summed on the host: nothing waits for the device.
    total = int(on_host[0].sum())
    lengths, corners, first_bits = torch.from_numpy(on_host).to(bits.device, non_blocking=True)
    is_set = _booleans(bits.device).index_select(0, bits.int()).view(torch.bool)

    # One entry a pixel of a window from here on; `index_select` and `scatter_` take a fraction of what brackets do.
    column = torch.repeat_interleave(lengths, output_size=total)
    pixel = torch.arange(total, device=bits.device)
    pixels = is_set.index_select(0, first_bits.index_select(0, column).add_(pixel))
    places = corners.index_select(0, column).add_(pixel, alpha=width)
    masks = torch.zeros((len(starts), height, width), dtype=torch.bool, device=bits.device)
    masks.view(-1).scatter_(0, places, pixels)
    return masks


@cache
def _booleans(device: torch.device) -> Tensor:
    """(256,) int64 whose bytes are the bits of each uint8 as booleans, the lowest first in memory."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little")
    return torch.from_numpy(bits.view(np.int64)).to(device, non_blocking=True)


def _columns(
    windows: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], size: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Of each column of the windows (N, 4), in order, as rows: its length, and where to find and to put its pixels.

    Pixel number p, counted over all windows, is bit `first bit + p` of the stream and goes to the place `corner +
    p * w` of the masks (N, h, w): the first bit and the corner are as if the column began with pixel 0.
    """
    height, width = size
    x1, y1, x2, y2 = windows.astype(np.int64).T
    widths = x2 - x1
    of_object = np.array([y2 - y1, (np.arange(len(x1)) * height + y1) * width + x1, starts])
    lengths, corners, first_bits = columns = of_object.repeat(widths, axis=1)
    number = np.arange(len(lengths)) - (widths.cumsum() - widths).repeat(widths)
    before = lengths.cumsum() - lengths
    corners += number - before * width
    first_bits += number * lengths - before
    return columns


def _join(parts: Sequence[MaskWindows]) -> tuple[npt.NDArray[np.int64], Tensor]:
    """First bit of each window in the joined stream, and the stream."""
    starts = []
    num_bytes = 0
    for part in parts:
        starts.append(part.starts.numpy() + num_bytes * _BITS)
        num_bytes += len(part.bits)
    return np.concatenate(starts), torch.cat([part.bits for part in parts])
