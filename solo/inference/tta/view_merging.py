"""Merge the candidates of several views of an image, flipped and resized, into detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from solo.masks.encoding import EncodedMasks, encode_resized
from solo.masks.resize_taps import MASK_STRIDE
from solo.masks.rle import RLE, decode_masks
from solo.models.candidates import ScoredCandidates
from solo.models.decoders import MaskDecoder
from solo.models.postprocess import SOLOv2PostProcessor

FLIPPED_AXES = {None: (), "horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}
"""Axes of (..., height, width) that each direction of a flip reverses."""


class View(NamedTuple):
    """One view of an image and the network's outputs for it.

    Attributes:
        cls_logits: (S, C).
        decoder: the mask decoder of the view's batch.
        image: index of the view in that batch.
        image_size: (height, width) of the view without its padding, pixels.
        flip_direction: how the image was flipped: "horizontal", "vertical", "diagonal" (both), or None.
    """

    cls_logits: Tensor
    decoder: MaskDecoder
    image: int
    image_size: tuple[int, int]
    flip_direction: str | None


@torch.no_grad()
def merge_views(
    views: Sequence[View], *, postprocess: SOLOv2PostProcessor, original_size: tuple[int, int]
) -> InstanceData:
    """Merge the candidates of all views of an image and suppress them in one NMS.

    Candidates enter with class score times maskness as their score, before any NMS: the detections of the single views
    have been decayed by an NMS already, and a second one would decay them again. One view alone therefore gives the
    same result as without merging. A detection has the score of its most confident view, decayed by its overlap with
    better masks of all views, and the mask of that view.

    Overlaps are measured in the frame of the first view at stride 4; masks of other views are resampled bilinearly.
    Beside outputs and results this takes about `len(views) * (3 * nms_pre * h * w + chunk_bytes)` bytes, h and w those
    of the first view; no full-size mask is made unless the post-processor's `mask_format` is "bool".

    Args:
        views: at least one.
        postprocess: its thresholds, limits and NMS are used: `nms_pre` for each view, `max_per_img` for the image.
        original_size: (height, width) of the image, pixels.

    Returns:
        As `SOLOv2PostProcessor`, in the frame of the image.

    Raises:
        ValueError: `views` is empty, or a flip direction is unknown.
    """
    _check(views)
    reference = views[0]
    decoded = [postprocess.candidates(view.cls_logits, view.decoder, view.image) for view in views]
    if len(views) > 1:  # the probabilities held for all views would take too much memory
        decoded = [found._replace(held=[]) for found in decoded]
    masks = torch.cat(
        [
            _resample(found.masks, source=view, target=reference)[found.candidates.rows]
            for view, found in zip(views, decoded, strict=True)
        ]
    )
    scores = torch.cat([found.candidates.scores for found in decoded])
    labels = torch.cat([found.candidates.labels for found in decoded])
    # Of equal scores the first view's comes first.
    order = scores.argsort(descending=True, stable=True)
    decayed = torch.empty_like(scores)
    decayed[order] = postprocess.nms(masks[order], labels[order], scores[order])
    best = order[decayed[order].argsort(descending=True, stable=True)][: postprocess.max_per_img]
    kept = best[decayed[best] >= postprocess.filter_thr]
    result = InstanceData(labels=labels[kept], scores=decayed[kept])
    encoded = _encode_kept(views, decoded, kept, original_size=original_size, postprocess=postprocess)
    result.masks, result.bboxes = encoded
    if postprocess.mask_format == "bool":
        result.masks = torch.from_numpy(decode_masks(encoded.rles, size=original_size)).to(kept.device)
    return result


def _check(views: Sequence[View]) -> None:
    if not views:
        raise ValueError("there is no view to merge")
    for view in views:
        if view.flip_direction not in FLIPPED_AXES:
            raise ValueError(
                f"flip_direction must be one of {', '.join(map(str, FLIPPED_AXES))}, got {view.flip_direction!r}"
            )


def _resample(masks: Tensor, *, source: View, target: View) -> Tensor:
    """Bring masks (D, h', w') bool from the frame of one view to (D, h, w) bool in that of another."""
    if source.image_size == target.image_size and source.flip_direction == target.flip_direction:
        return masks
    size = target.decoder.mask_size
    reversed_axes = set(FLIPPED_AXES[source.flip_direction]) ^ set(FLIPPED_AXES[target.flip_direction])
    rows, columns = (
        _sample_coordinates(
            size[axis],
            length=target.image_size[axis],
            source_length=source.image_size[axis],
            source_pixels=masks.shape[axis],
            is_reversed=axis in reversed_axes,
        )
        for axis in (-2, -1)
    )
    grid = torch.stack([columns.expand(*size), rows[:, None].expand(*size)], dim=-1).to(masks.device)  # (h, w, 2) x y
    resampled = torch.empty((len(masks), *size), dtype=torch.bool, device=masks.device)
    # Mask by mask: as float32 all of them together would take four times the memory of the result.
    for mask, result in zip(masks, resampled, strict=True):
        values = F.grid_sample(
            mask[None, None].float(), grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        # A value of exactly 0.5 counts as inside, so that thin objects do not vanish.
        torch.ge(values[0, 0], 0.5, out=result)
    return resampled


def _sample_coordinates(
    pixels: int, *, length: int, source_length: int, source_pixels: int, is_reversed: bool
) -> Tensor:
    """Where each stride-4 pixel of an axis lies on the same axis of another view, as `grid_sample` counts.

    Args:
        pixels: stride-4 pixels of the axis, padding included.
        length: input pixels of the axis without padding.
        source_length: likewise in the other view.
        source_pixels: stride-4 pixels of the axis in the other view, padding included.
        is_reversed: one of the two views is flipped along the axis.

    Returns:
        (pixels,) float32, from -1 at the start of the other view's first pixel to 1 at the end of its last.
    """
    fractions = (torch.arange(pixels, dtype=torch.float64) + 0.5) * MASK_STRIDE / length
    positions = (1 - fractions if is_reversed else fractions) * source_length  # input pixels of the other view
    return (2 * positions / (MASK_STRIDE * source_pixels) - 1).float()


def _encode_kept(
    views: Sequence[View],
    decoded: Sequence[ScoredCandidates],
    kept: Tensor,
    *,
    original_size: tuple[int, int],
    postprocess: SOLOv2PostProcessor,
) -> EncodedMasks:
    """Encode the masks of the detections view by view, in the frame of the image.

    Args:
        views: the views.
        decoded: the candidates of each.
        kept: (D,) int64 indices of the detections among the candidates of all views.
        original_size: (height, width) of the image, pixels.
        postprocess: its threshold is used, and how it cleans masks.
    """
    rles = [RLE(size=[], counts="")] * len(kept)
    boxes = torch.zeros((len(kept), 4), device=kept.device)
    first = 0
    for view, found in zip(views, decoded, strict=True):
        count = len(found.candidates.scores)
        rows = ((kept >= first) & (kept < first + count)).nonzero()[:, 0]  # (n,) detections of this view
        cells = found.candidates.cells[kept[rows] - first]
        first += count
        encoded = encode_resized(
            postprocess.clean(found.probabilities(cells)),
            image_size=view.image_size,
            original_size=original_size,
            threshold=postprocess.mask_thr,
            flipped_axes=FLIPPED_AXES[view.flip_direction],
        )
        boxes[rows] = encoded.boxes
        for row, rle in zip(rows.tolist(), encoded.rles, strict=True):
            rles[row] = rle
    return EncodedMasks(rles=rles, boxes=boxes)
