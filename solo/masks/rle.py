"""Run-length encoding of binary masks as COCO writes it, on any device and for many masks at once.

The text is that of pycocotools, byte by byte: runs of background and object by turns, in column-major order; from the
fourth run on the difference to the run two before; five bits a character, the lowest first, signed, offset by 48.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.masks.resize import ResizedPart, resized_parts
from solo.masks.windows import pixels_at_once, window_groups

MAX_CHARACTERS = 7
"""Of one run: 35 bits signed, enough for 17 billion pixels."""


class RLE(TypedDict):
    """A compressed COCO run-length encoding: `size` is [height, width] in pixels, `counts` is ASCII text."""

    size: list[int]
    counts: str


class EncodedMasks(NamedTuple):
    """Encoded masks of a picture and their boxes.

    Attributes:
        rles: D encodings.
        boxes: (D, 4) float32, x1 y1 x2 y2 in pixels; x2 and y2 are exclusive. Zeros if empty.
    """

    rles: list[RLE]
    boxes: Tensor


def encode_bitmaps(masks: Tensor) -> EncodedMasks:
    """Encode binary masks.

    Args:
        masks: (D, H, W) bool.
    """
    count, height, width = masks.shape
    return _encode(_parts(masks), count=count, size=(height, width), device=masks.device)


def encode_resized(
    probabilities: Tensor, *, image_size: tuple[int, int], original_size: tuple[int, int], threshold: float
) -> EncodedMasks:
    """Encode what `resize_masks` returns for the same arguments, without making a full-size mask."""
    parts = resized_parts(
        probabilities, image_size=image_size, original_size=original_size, threshold=threshold, column_major=True
    )
    bitmaps = (part._replace(pixels=part.pixels > threshold) for part in parts)
    return _encode(bitmaps, count=len(probabilities), size=original_size, device=probabilities.device)


class _Edges(NamedTuple):
    """Where columns of masks change between background and object; starts and ends take turns.

    Attributes:
        masks: (T,) int64, ascending.
        columns: (T,) int64, ascending within a mask.
        rows: (T,) int64, ascending within a column; the height of the picture at most.
    """

    masks: Tensor
    columns: Tensor
    rows: Tensor


def _encode(parts: Iterable[ResizedPart], *, count: int, size: tuple[int, int], device: torch.device) -> EncodedMasks:
    edges = _edges(parts, device)
    lengths, runs = _runs(edges, count=count, size=size)
    rles = [RLE(size=[int(side) for side in size], counts=text) for text in _texts(lengths, runs)]
    return EncodedMasks(rles=rles, boxes=_boxes(edges, count=count))


def _parts(masks: Tensor) -> Iterator[ResizedPart]:
    """The windows of masks (D, H, W), cut by columns."""
    for members, window in window_groups(masks, pixels_per_mask=masks.shape[1] * masks.shape[2]):
        step = max(1, pixels_at_once(masks.device) // (len(members) * (window.bottom - window.top)))
        for left in range(window.left, window.right, step):
            columns = slice(left, min(left + step, window.right))
            yield ResizedPart(members, window.top, left, masks[members.start : members.stop, window.rows, columns])


def _edges(parts: Iterable[ResizedPart], device: torch.device) -> _Edges:
    """The edges of all parts, in one list by mask and position."""
    found: list[Tensor] = []
    origins: list[tuple[int, ...]] = []
    in_order = True
    for part in parts:
        count, height, width = part.pixels.shape
        # With background above and below, every run of a column starts and ends in it.
        pixels = F.pad(part.pixels.transpose(1, 2), (1, 1)).flatten()
        found.append((pixels[1:] ^ pixels[:-1]).nonzero()[:, 0])
        origins.append((found[-1].shape[0], part.masks.start, part.left, part.top, width, height + 2))
        in_order &= count == 1
    if not found:
        return _Edges(*torch.zeros(3, 0, dtype=torch.int64, device=device))
    positions = torch.cat(found)
    table = torch.tensor(origins, device=device)
    origin = table[:, 1:].repeat_interleave(table[:, 0], dim=0, output_size=len(positions))
    first_mask, left, top, widths, lines = origin.unbind(1)
    column, row = positions // lines, positions % lines
    edges = _Edges(masks=first_mask + column // widths, columns=left + column % widths, rows=top + row)
    if in_order:
        return edges
    order = edges.masks.argsort(stable=True)
    return _Edges(*(field[order] for field in edges))


def _runs(edges: _Edges, *, count: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Lengths of the runs of all masks, one mask after the other.

    Returns:
        (R,) int64 run lengths, and (D,) int64 how many of them each mask has.
    """
    pixels = size[0] * size[1]
    masks, positions = edges.masks, edges.columns * size[0] + edges.rows
    # All masks on one axis, with a place between them for the end of the last run.
    places = masks * (pixels + 1) + positions
    keep = positions < pixels
    # A column that ends where the next one starts: the run goes on.
    continued = places[1:] == places[:-1]
    keep[1:] &= ~continued
    keep[:-1] &= ~continued
    kept = keep.nonzero()[:, 0]
    masks, places = masks[kept], places[kept]
    edges_per_mask = masks.bincount(minlength=count)
    each = torch.arange(count, device=places.device)
    ends = places.new_empty(len(places) + count)
    ends[torch.arange(len(places), device=places.device) + masks] = places
    ends[edges_per_mask.cumsum(0) + each] = each * (pixels + 1) + pixels
    lengths = ends.diff(prepend=ends.new_full((1,), -1))
    runs = edges_per_mask + 1
    lengths[runs.cumsum(0) - runs] -= 1
    return lengths, runs


def _texts(lengths: Tensor, runs: Tensor) -> list[str]:
    """Run lengths (R,) and their number a mask (D,) to the text of each mask."""
    lengths, runs = lengths.cpu(), runs.cpu()
    ends = runs.cumsum(0)
    index = torch.arange(len(lengths)) - (ends - runs).repeat_interleave(runs, output_size=len(lengths))
    values = lengths.clone()
    values[2:] -= torch.where(index[2:] > 2, lengths[:-2], 0)
    characters = torch.ones_like(values)
    for bits in range(4, 5 * MAX_CHARACTERS - 1, 5):
        characters += (values >= 1 << bits) | (values < -(1 << bits))
    stops = characters.cumsum(0)
    total = int(stops[-1]) if len(stops) else 0
    place = torch.arange(total) - (stops - characters).repeat_interleave(characters, output_size=total)
    values, characters = (field.repeat_interleave(characters, output_size=total) for field in (values, characters))
    codes = ((values >> (5 * place)) & 31) + 32 * (place < characters - 1) + 48
    text = codes.to(torch.uint8).numpy().tobytes().decode("ascii")
    borders = [0, *stops[ends - 1].tolist()] if len(runs) else [0]
    return [text[start:stop] for start, stop in itertools.pairwise(borders)]


def _boxes(edges: _Edges, *, count: int) -> Tensor:
    """(D, 4) float32 boxes around the edges of each mask."""
    sides = torch.stack([edges.columns, edges.rows, edges.columns + 1, edges.rows])
    boxes = torch.zeros(4, count, dtype=torch.int64, device=sides.device)
    for side, name in enumerate(("amin", "amin", "amax", "amax")):
        boxes[side].scatter_reduce_(0, edges.masks, sides[side], name, include_self=False)
    return boxes.T.float()
