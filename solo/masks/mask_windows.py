"""Binary masks as a sample carries them: each cut to its window, one bit a pixel; a batch is unpacked at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from solo.masks.column_runs import Integers
from solo.masks.transformed_runs import WindowBitmaps


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskWindows:
    """N binary masks of one size, as arrays. Selecting objects shares the bits.

    Outside of its window a mask is background. Inside, pixels are stored column by column, the lowest bit of a byte
    first: pixel (row, column) of window i is bit `starts[i] + (column - x1) * (y2 - y1) + row - y1` of the stream.
    """

    size: tuple[int, int]  # (h, w) of every mask in pixels
    windows: npt.NDArray[np.int32]  # (N, 4) x1 y1 x2 y2 in pixels, x2 and y2 exclusive
    starts: Integers  # (N,) first bit of each window
    bits: npt.NDArray[np.uint8]  # (M,) the stream

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Any) -> MaskWindows:
        """Select masks by a slice, indices or booleans (N,)."""
        index = np.asarray(index) if isinstance(index, (list, Tensor)) else index
        return replace(self, windows=self.windows[index], starts=self.starts[index])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, bytes={len(self.bits)})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, h, w)."""
        return len(self), *self.size

    @staticmethod
    def cat(parts: Sequence[MaskWindows]) -> MaskWindows:
        """Concatenate at least one part, all of one size; mmengine's `InstanceData` expects this name and form."""
        if len({part.size for part in parts}) != 1:
            raise ValueError(f"expected masks of one size, got the sizes {[part.size for part in parts]}")
        return MaskWindows(size=parts[0].size, **_concatenate(parts))


def pack_windows(bitmaps: WindowBitmaps, *, size: tuple[int, int]) -> MaskWindows:
    """Pack bitmaps of masks of `size` (h, w) to one bit a pixel."""
    bits = np.packbits(bitmaps.pixels, bitorder="little")
    return MaskWindows(size=size, windows=bitmaps.windows.astype(np.int32), starts=bitmaps.starts, bits=bits)


def unpack_masks(parts: Sequence[MaskWindows], size: tuple[int, int], *, device: torch.device | str = "cpu") -> Tensor:
    """Unpack the masks of several images onto background, without waiting for the device.

    Args:
        parts: The masks of each image; their sizes may differ.
        size: (h, w) of the result; what an image's masks lack is background at the bottom and right.
        device: Of the result. Only the bits and one entry a column of the windows are sent there.

    Returns:
        (sum of N, h, w) bool on the device, images in the given order.

    Raises:
        ValueError: Masks are larger than `size`.
    """
    height, width = size
    for part in parts:
        if part.size[0] > height or part.size[1] > width:
            raise ValueError(f"masks of size {part.size} do not fit into {size} (height, width)")
    if torch.device(device).type == "cpu":
        return torch.from_numpy(_unpack_windows(parts, size))
    return _unpack_on_device(parts, size, torch.device(device))


def _unpack_windows(parts: Sequence[MaskWindows], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Unpack window by window: on a CPU one copy each is faster than tensor operations for all pixels at once."""
    masks = np.zeros((sum(map(len, parts)), *size), np.bool_)
    unfilled = iter(masks.transpose(0, 2, 1))  # (N, w, h)
    for part in parts:
        pixels = np.unpackbits(part.bits, bitorder="little").view(np.bool_)
        for (x1, y1, x2, y2), start in zip(part.windows.tolist(), part.starts.tolist(), strict=True):
            width, height = x2 - x1, y2 - y1
            next(unfilled)[x1:x2, y1:y2] = pixels[start : start + width * height].reshape(width, height)
    return masks


def _unpack_on_device(parts: Sequence[MaskWindows], size: tuple[int, int], device: torch.device) -> Tensor:
    """Unpack all pixels of all windows at once: on a GPU each call takes long, however little it does."""
    height, width = size
    joined = _concatenate(parts)
    columns = _index_columns(joined["windows"], joined["starts"], size)  # (3, T)
    total = int(columns[0].sum())  # on the CPU, so nothing waits for the device
    lengths, corners, first_bits = torch.from_numpy(columns).to(device, non_blocking=True)
    bits = torch.from_numpy(joined["bits"]).to(device, non_blocking=True)
    is_set = _byte_table(device).index_select(0, bits.int()).view(torch.bool)  # (8 M,)
    # `index_select` and `scatter_` take a fraction of the time of indexing with brackets.
    column = torch.repeat_interleave(lengths, output_size=total)  # (pixels,)
    pixel = torch.arange(total, device=device)
    pixels = is_set.index_select(0, first_bits.index_select(0, column).add_(pixel))  # (pixels,) bool
    positions = corners.index_select(0, column).add_(pixel, alpha=width)
    masks = torch.zeros((len(joined["starts"]), height, width), dtype=torch.bool, device=device)
    masks.view(-1).scatter_(0, positions, pixels)
    return masks


@cache
def _byte_table(device: torch.device) -> Tensor:
    """(256,) int64 whose eight bytes are the bits of each uint8 as booleans, the lowest first in memory."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little")
    return torch.from_numpy(bits.view(np.int64)).to(device, non_blocking=True)


def _index_columns(windows: npt.NDArray[np.int32], starts: Integers, size: tuple[int, int]) -> Integers:
    """(3, T) length, corner and first bit of each column of all windows (N, 4), in order.

    Pixel p, counted over all windows, is bit `first bit + p` of the stream and lies at `corner + p * w` of the
    flattened masks (N, h, w): first bit and corner are those of pixel 0 if it were in that column.
    """
    height, width = size
    x1, y1, x2, y2 = windows.astype(np.int64).T
    widths = x2 - x1
    of_object = np.array([y2 - y1, (np.arange(len(x1)) * height + y1) * width + x1, starts])  # (3, N)
    lengths, corners, first_bits = columns = of_object.repeat(widths, axis=1)  # (3, T)
    index = np.arange(len(lengths)) - (widths.cumsum() - widths).repeat(widths)  # column within its window
    before = lengths.cumsum() - lengths  # pixels of all columns before
    corners += index - before * width
    first_bits += index * lengths - before
    return columns


def _concatenate(parts: Sequence[MaskWindows]) -> dict[str, Any]:
    """The arrays of all parts in a row, with `starts` as bits of the joined stream."""
    num_bytes = np.cumsum([0, *(len(part.bits) for part in parts)])
    return dict(
        windows=np.concatenate([part.windows for part in parts]),
        starts=np.concatenate([part.starts + first * 8 for part, first in zip(parts, num_bytes, strict=False)]),
        bits=np.concatenate([part.bits for part in parts]),
    )
