"""Detections of one picture from several views of it: flipped, enlarged, shrunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from solo.masks.bitmaps import MASK_STRIDE, boxes_from_masks
from solo.masks.mask_bits import pack_bits
from solo.masks.resize import resize_masks
from solo.masks.rle import RLE, encode_bitmaps, encode_resized
from solo.models.candidates import DrawnCandidates
from solo.models.postprocess import SOLOv2PostProcessor
from solo.structures import CellMasks

CHUNK_PIXELS = 2**25
"""Most pixels of the masks that are worked on at once."""


FLIPPED_AXES = {None: (), "horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}
"""Axes of (..., height, width) that each direction of a flip turns round."""


class View(NamedTuple):
    """One view of a picture, and what the network says about it.

    Attributes:
        cls_logits: (S, C).
        masks: draws the masks of its cells.
        image_size: (height, width) of the view without its padding, pixels.
        flip_direction: how the picture was flipped: "horizontal", "vertical", "diagonal" (both), or None.
    """

    cls_logits: Tensor
    masks: CellMasks
    image_size: tuple[int, int]
    flip_direction: str | None


@torch.no_grad()
def merge_views(
    views: Sequence[View], *, postprocess: SOLOv2PostProcessor, original_size: tuple[int, int]
) -> InstanceData:
    """The detections of a picture, from the candidates of all its views, suppressed together by one NMS.

    What enters are candidates, with class score times maskness as their score, not the detections that each view would
    give: those have been decayed by an NMS already, and a second one would decay them again. Hence one view alone gives
    what it gives without a merge. A detection's score is thus that of the view that is surest of it, decayed by its
    overlap with better masks of all views; and its mask is the mask of that view.

    Overlaps are measured in the frame of the first view at stride 4; masks of the others are brought there bilinearly.
    Beside outputs and results it takes about `len(views) * (3 * nms_pre * h * w + chunk_bytes)` bytes, h and w those of
    the first view, while the size of the picture counts for a few masks at a time alone, when they are run lengths.

    Args:
        views: at least one.
        postprocess: with its thresholds, its limits a view (`nms_pre`) and a picture (`max_per_img`), and its NMS.
        original_size: (height, width) of the picture, pixels.

    Returns:
        As `SOLOv2PostProcessor`, in the frame of the picture.

    Raises:
        ValueError: no view, or a flip of another direction.
    """
    _check(views)
    reference = views[0]
    drawn = [postprocess.candidates(view.cls_logits, view.masks) for view in views]
    if len(views) > 1:  # what all of them hold would be too much
        drawn = [found._replace(held=[]) for found in drawn]
    masks = torch.cat(
        [
            _in_frame_of(reference, found.masks, view)[found.candidates.rows]
            for view, found in zip(views, drawn, strict=True)
        ]
    )
    scores = torch.cat([found.candidates.scores for found in drawn])
    labels = torch.cat([found.candidates.labels for found in drawn])
    # Equal scores: the first view first.
    order = scores.argsort(descending=True, stable=True)
    decayed = torch.empty_like(scores)
    decayed[order] = postprocess.nms(masks[order], labels[order], scores[order])
    best = order[decayed[order].argsort(descending=True, stable=True)][: postprocess.max_per_img]
    kept = best[decayed[best] >= postprocess.filter_thr]
    result = InstanceData(labels=labels[kept], scores=decayed[kept])
    full_size = _run_lengths if postprocess.mask_format == "rle" else _bitmaps
    parts = _kept_masks(views, drawn, kept)
    result.masks, result.bboxes = full_size(
        parts, count=len(kept), original_size=original_size, threshold=postprocess.mask_thr, device=kept.device
    )
    if postprocess.mask_format == "bits":
        result.masks = pack_bits(result.masks)
    return result


def _check(views: Sequence[View]) -> None:
    if not views:
        raise ValueError("there is no view to merge")
    for view in views:
        if view.flip_direction not in FLIPPED_AXES:
            raise ValueError(
                f"flip_direction must be one of {', '.join(map(str, FLIPPED_AXES))}; came {view.flip_direction!r}"
            )


def _in_frame_of(reference: View, masks: Tensor, view: View) -> Tensor:
    """Masks (D, h', w') bool of a view as (D, h, w) bool of another."""
    if view.image_size == reference.image_size and view.flip_direction == reference.flip_direction:
        return masks
    size = reference.masks.size
    turned = set(FLIPPED_AXES[view.flip_direction]) ^ set(FLIPPED_AXES[reference.flip_direction])
    rows, columns = (
        _places(size[axis], reference.image_size[axis], view.image_size[axis], masks.shape[axis], axis in turned)
        for axis in (-2, -1)
    )
    grid = torch.stack([columns.expand(*size), rows[:, None].expand(*size)], dim=-1).to(masks.device)
    moved = torch.empty((len(masks), *size), dtype=torch.bool, device=masks.device)
    step = max(1, CHUNK_PIXELS // grid[..., 0].numel())
    for start in range(0, len(masks), step):
        part = masks[None, start : start + step].float()
        sampled = F.grid_sample(part, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
        # A half is inside as well as outside: kept, so that thin objects do not vanish.
        torch.ge(sampled[0], 0.5, out=moved[start : start + step])
    return moved


def _places(cells: int, image: int, other_image: int, other_cells: int, turned: bool) -> Tensor:
    """Where each of `cells` lies on another view's axis, from -1 at the start of the first to 1 at the end of the last.

    `image` and `other_image` are the lengths of the two views without padding, in pixels of each.
    """
    places = (torch.arange(cells, dtype=torch.float64) + 0.5) * MASK_STRIDE / image
    places = (1 - places if turned else places) * other_image
    return (2 * places / (MASK_STRIDE * other_cells) - 1).float()


class _KeptMasks(NamedTuple):
    """Detections whose mask one view drew.

    Attributes:
        view: the view.
        places: their places among all detections.
        probabilities: (n, h', w') float32 of the view.
    """

    view: View
    places: list[int]
    probabilities: Tensor


def _kept_masks(views: Sequence[View], drawn: Sequence[DrawnCandidates], kept: Tensor) -> Iterator[_KeptMasks]:
    """View by view the masks of the candidates `kept` among those of all views."""
    first = 0
    for view, found in zip(views, drawn, strict=True):
        count = len(found.candidates.scores)
        places = ((kept >= first) & (kept < first + count)).nonzero()[:, 0]
        cells = found.candidates.cells[kept[places] - first]
        first += count
        probabilities = found.probabilities_of(cells, cell_masks=view.masks)
        yield _KeptMasks(view, places.tolist(), probabilities)


def _bitmaps(
    parts: Iterable[_KeptMasks], *, count: int, original_size: tuple[int, int], threshold: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """(D, height, width) bool masks of the picture and their boxes (D, 4)."""
    masks = torch.zeros((count, *original_size), dtype=torch.bool, device=device)
    for view, places, probabilities in parts:
        sizes = dict(image_size=view.image_size, original_size=original_size)
        for place, probability in zip(places, probabilities, strict=True):
            bitmap = resize_masks(probability[None], **sizes, threshold=threshold)[0]
            masks[place] = bitmap.flip(FLIPPED_AXES[view.flip_direction])
    return masks, boxes_from_masks(masks)


def _run_lengths(
    parts: Iterable[_KeptMasks], *, count: int, original_size: tuple[int, int], threshold: float, device: torch.device
) -> tuple[list[RLE], Tensor]:
    """D encodings of masks of the picture and their boxes (D, 4)."""
    rles: list[RLE] = [RLE(size=[], counts="")] * count
    boxes = torch.zeros((count, 4), device=device)
    at_once = max(1, CHUNK_PIXELS // (original_size[0] * original_size[1]))
    for view, places, probabilities in parts:
        options: dict[str, Any] = dict(image_size=view.image_size, original_size=original_size, threshold=threshold)
        # Runs cannot be turned round: of a flipped view the masks are drawn at full size, a few at a time.
        step = at_once if view.flip_direction else max(1, len(places))
        for start in range(0, len(places), step):
            part = probabilities[start : start + step]
            if view.flip_direction:
                encoded = encode_bitmaps(resize_masks(part, **options).flip(FLIPPED_AXES[view.flip_direction]))
            else:
                encoded = encode_resized(part, **options)
            boxes[places[start : start + step]] = encoded.boxes
            for place, rle in zip(places[start : start + step], encoded.rles, strict=True):
                rles[place] = rle
    return rles, boxes
