"""Masks on a device to COCO's run-length encoding (RLE): bitmaps, or probabilities that are resized on the way.

The device searches the columns of many masks at once for edges; only counts travel to the CPU, where `solo.masks.rle`
writes them as text. No full-size mask is made from probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.masks.resize import ResizedPart, resized_parts
from solo.masks.rle import RLE, encode_counts
from solo.masks.windows import chunk_pixels, window_groups


class EncodedMasks(NamedTuple):
    """D encoded masks of an image and their boxes."""

    rles: list[RLE]
    boxes: Tensor  # (D, 4) float32 x1 y1 x2 y2 in pixels, x2 and y2 exclusive; zeros if empty


def encode_bitmaps(masks: Tensor) -> EncodedMasks:
    """Encode binary masks (D, H, W) bool."""
    count, height, width = masks.shape
    return _encode(_find_edges(_parts(masks), masks.device), count=count, size=(height, width))


def encode_resized(
    probabilities: Tensor,
    *,
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    threshold: float,
    flipped_axes: Sequence[int] = (),
) -> EncodedMasks:
    """Encode what `resize_masks(...).flip(flipped_axes)` returns, without making a full-size mask.

    Takes the arguments of `resize_masks`, and the axes along which the resized masks are flipped: -2 rows, -1 columns.
    """
    parts = resized_parts(
        probabilities, image_size=image_size, original_size=original_size, threshold=threshold, column_major=True
    )
    bitmaps = (part._replace(pixels=part.pixels > threshold) for part in parts)
    edges = _find_edges(bitmaps, probabilities.device)
    if flipped_axes:
        edges = _flip(edges, flipped_axes, size=original_size)
    return _encode(edges, count=len(probabilities), size=original_size)


class _Edges(NamedTuple):
    """Where columns of masks change between background and object; starts and ends alternate."""

    masks: Tensor  # (T,) int64, ascending
    columns: Tensor  # (T,) int64, ascending within a mask
    rows: Tensor  # (T,) int64, ascending within a column; at most the height of the image


def _parts(masks: Tensor) -> Iterator[ResizedPart]:
    """Yield the windows of masks (D, H, W), cut by columns."""
    for members, window in window_groups(masks, pixels_per_mask=masks.shape[1] * masks.shape[2]):
        step = max(1, chunk_pixels(masks.device) // (len(members) * (window.bottom - window.top)))
        inside = masks[members.start : members.stop, window.top : window.bottom]
        for left in range(window.left, window.right, step):
            yield ResizedPart(members, window.top, left, inside[..., left : min(left + step, window.right)])


def _find_edges(parts: Iterable[ResizedPart], device: torch.device) -> _Edges:
    """The edges of all parts in one table, ordered by mask and position."""
    found: list[Tensor] = []
    origins: list[tuple[int, ...]] = []
    is_ordered = True
    for part in parts:
        count, height, width = part.pixels.shape
        # With background above and below, every run of a column starts and ends in it.
        pixels = F.pad(part.pixels.transpose(1, 2), (1, 1)).flatten()  # (count * width * (height + 2),)
        found.append((pixels[1:] ^ pixels[:-1]).nonzero()[:, 0])  # (edges of the part,)
        origins.append((found[-1].shape[0], part.masks.start, part.left, part.top, width, height + 2))
        is_ordered &= count == 1
    if not found:
        return _Edges(*torch.zeros(3, 0, dtype=torch.int64, device=device))
    positions = torch.cat(found)  # (T,)
    table = torch.tensor(origins, device=device)  # (parts, 6): one copy to the device for all parts
    origin = table[:, 1:].repeat_interleave(table[:, 0], dim=0, output_size=len(positions))  # (T, 5)
    first_mask, left, top, widths, lines = origin.unbind(1)
    column, row = positions // lines, positions % lines
    edges = _Edges(masks=first_mask + column // widths, columns=left + column % widths, rows=top + row)
    if is_ordered:
        return edges
    # A part of several masks holds some columns of each: bring the columns of a mask together.
    order = edges.masks.argsort(stable=True)
    return _Edges(*(field[order] for field in edges))


def _flip(edges: _Edges, axes: Sequence[int], *, size: tuple[int, int]) -> _Edges:
    """The edges of the masks flipped along -2 (rows: a start becomes an end) or -1 (columns), ordered again."""
    height, width = size
    rows = height - edges.rows if -2 in axes else edges.rows
    columns = width - 1 - edges.columns if -1 in axes else edges.columns
    # Rows differ within a column, so no two edges have the same key.
    order = ((edges.masks * width + columns) * (height + 1) + rows).argsort()
    return _Edges(edges.masks[order], columns[order], rows[order])


def _encode(edges: _Edges, *, count: int, size: tuple[int, int]) -> EncodedMasks:
    counts, num_counts = _count_runs(edges, count=count, size=size)
    texts = encode_counts(counts.cpu().numpy(), num_counts.cpu().numpy())
    height, width = (int(side) for side in size)
    return EncodedMasks(rles=[RLE(size=[height, width], counts=text) for text in texts], boxes=_boxes(edges, count))


def _count_runs(edges: _Edges, *, count: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(R,) int64 RLE counts of all masks, one mask after the other, and (D,) int64 how many of them each mask has."""
    pixels = size[0] * size[1]
    masks, positions = edges.masks, edges.columns * size[0] + edges.rows  # (T,) column-major position in the mask
    # All masks on one axis, with one more index after each for the end of its last run.
    indices = masks * (pixels + 1) + positions
    keep = positions < pixels
    # A run that ends where the next column starts one goes on: both edges are dropped.
    continued = indices[1:] == indices[:-1]
    keep[1:] &= ~continued
    keep[:-1] &= ~continued
    kept = keep.nonzero()[:, 0]
    masks, indices = masks[kept], indices[kept]  # (K,)
    edges_per_mask = masks.bincount(minlength=count)  # (D,)
    each = torch.arange(count, device=indices.device)
    ends = indices.new_empty(len(indices) + count)  # (R,) where each run ends: at an edge, or with its mask
    ends[torch.arange(len(indices), device=indices.device) + masks] = indices
    ends[edges_per_mask.cumsum(0) + each] = each * (pixels + 1) + pixels
    counts = ends.diff(prepend=ends.new_full((1,), -1))
    num_counts = edges_per_mask + 1
    counts[num_counts.cumsum(0) - num_counts] -= 1  # the index between two masks is no pixel
    return counts, num_counts


def _boxes(edges: _Edges, count: int) -> Tensor:
    """(D, 4) float32 boxes around the edges of each mask."""
    sides = torch.stack([edges.columns, edges.rows, edges.columns + 1, edges.rows])  # (4, T) x1 y1 x2 y2
    boxes = torch.zeros(4, count, dtype=torch.int64, device=sides.device)
    for side, name in enumerate(("amin", "amin", "amax", "amax")):
        boxes[side].scatter_reduce_(0, edges.masks, sides[side], name, include_self=False)
    return boxes.T.float()
