"""Binary masks with eight pixels to a byte, on any device: an eighth of the memory and of what is copied to the host.

The order is that of `numpy.packbits(masks, axis=-1)`: the first pixel of a row is the highest bit of its first byte,
and a row whose length eight does not divide ends with bits of background.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from solo.masks.resize import resized_parts
from solo.masks.windows import set_extent

BITS = 8
# Eight bytes of 0 or 1, read as one integer, times this: the highest byte of the product holds their bits in order.
_GATHER = 0x8040201008040201 - 2**64
_HIGHEST_BYTE = 56


class BitMasks(NamedTuple):
    """Masks of a picture as bits, and their boxes.

    Attributes:
        bits: (D, height, ceil(width / 8)) uint8.
        boxes: (D, 4) float32, x1 y1 x2 y2 in pixels; x2 and y2 are exclusive. Zeros if empty.
    """

    bits: Tensor
    boxes: Tensor


def pack_bits(masks: Tensor) -> Tensor:
    """Pack bitmaps.

    Args:
        masks: (..., W) bool.

    Returns:
        (..., ceil(W / 8)) uint8.

    Raises:
        ValueError: masks is not bool.
    """
    if masks.dtype != torch.bool:
        raise ValueError(f"masks must be bool, got {masks.dtype}")
    return _pack(masks, indent=0)


def unpack_bits(bits: Tensor, *, width: int) -> Tensor:
    """Bitmaps of packed ones.

    Args:
        bits: (..., ceil(width / 8)) uint8.
        width: W, pixels of a row.

    Returns:
        (..., W) bool.

    Raises:
        ValueError: bits is not uint8, or its rows are not of that width.
    """
    if bits.dtype != torch.uint8 or bits.shape[-1] != -(-width // BITS):
        raise ValueError(
            f"bits of masks of width {width} must be uint8 (..., {-(-width // BITS)}),"
            f" got {bits.dtype} {tuple(bits.shape)}"
        )
    single = 1 << torch.arange(BITS - 1, -1, -1, dtype=torch.uint8, device=bits.device)
    return (bits[..., None] & single).bool().flatten(-2)[..., :width]


def resize_to_bits(
    probabilities: Tensor, *, image_size: tuple[int, int], original_size: tuple[int, int], threshold: float
) -> BitMasks:
    """What `resize_masks` returns for the same arguments, packed; no full-size bitmap is made."""
    height, width = original_size
    bits = torch.zeros(len(probabilities), height, -(-width // BITS), dtype=torch.uint8, device=probabilities.device)
    sizes = dict(image_size=image_size, original_size=original_size)
    for part in resized_parts(probabilities, **sizes, threshold=threshold, column_major=False):
        first, indent = divmod(part.left, BITS)
        packed = _pack(part.pixels > threshold, indent=indent)
        members = slice(part.masks.start, part.masks.stop)
        bits[members, part.top : part.top + packed.shape[1], first : first + packed.shape[2]] = packed
    return BitMasks(bits=bits, boxes=boxes_from_bits(bits, width=width))


def boxes_from_bits(bits: Tensor, *, width: int) -> Tensor:
    """Tightest boxes around packed masks.

    Args:
        bits: (D, H, ceil(width / 8)) uint8.
        width: W, pixels of a row.

    Returns:
        (D, 4) float32 as `boxes_from_masks` returns them.
    """
    rows = bits.amax(dim=2) > 0 if bits.numel() else bits.new_zeros(bits.shape[:2], dtype=torch.bool)
    columns = unpack_bits(_union_of_rows(bits), width=width)
    (left, right), (top, bottom) = set_extent(columns), set_extent(rows)
    return torch.stack([left, top, right, bottom], dim=1).float()


def _pack(masks: Tensor, *, indent: int) -> Tensor:
    """(..., W) bool, after so many pixels of background, to bits."""
    length = indent + masks.shape[-1]
    pixels = masks.new_zeros((*masks.shape[:-1], length + -length % BITS))
    pixels[..., indent:length] = masks
    return ((pixels.view(torch.int64) * _GATHER) >> _HIGHEST_BYTE).to(torch.uint8)


def _union_of_rows(bits: Tensor) -> Tensor:
    """(D, n) bitwise or over the rows of (D, H, n) bytes, by halves: torch has no such reduction."""
    while bits.shape[1] > 1:
        half = bits.shape[1] // 2
        rest = bits[:, 2 * half :]
        bits = torch.cat([bits[:, :half] | bits[:, half : 2 * half], rest], dim=1)
    return bits.sum(dim=1, dtype=torch.uint8)
