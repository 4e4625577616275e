"""The assertion that two sides detect the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData

from solo.masks.rle import decode_masks
from solo.structures import SOLOv2Outputs

NETWORK_TOLERANCE = 1e-4
"""Of network outputs, of the largest value: sums in another order, over all layers."""
SCORE_TOLERANCE = 1e-5
PIXEL_SHARE = 1e-5
"""Of the pixels of all masks; those whose probability is at the threshold may fall on either side."""


def check_outputs(ours: SOLOv2Outputs, peer: SOLOv2Outputs, *, tolerance: float = NETWORK_TOLERANCE) -> None:
    """Assert that two networks computed the same.

    Raises:
        AssertionError: an output differs by more than `tolerance` of its largest value.
    """
    for name, mine, theirs in zip(SOLOv2Outputs._fields, ours, peer, strict=True):
        difference = float((mine.float() - theirs.float()).abs().max() / theirs.float().abs().max().clamp(min=1e-12))
        if not difference <= tolerance:
            raise AssertionError(f"{name} differs from the peer's by {difference:.1e} of the largest value")


def check_detections(ours: Sequence[InstanceData], peer: Sequence[InstanceData]) -> None:
    """Assert equal labels, scores within 1e-5 and, of all masks' pixels, at most the share 1e-5 different.

    Args:
        ours: labels, scores and bitmaps of each image.
        peer: the same of the peer.

    Raises:
        AssertionError: they differ.
    """
    different = pixels = 0
    for image, (mine, theirs) in enumerate(zip(ours, peer, strict=True)):
        if len(mine.labels) != len(theirs.labels):
            raise AssertionError(f"image {image}: {len(mine.labels)} detections, the peer has {len(theirs.labels)}")
        if not torch.equal(mine.labels.cpu(), theirs.labels.cpu().long()):
            raise AssertionError(f"image {image}: labels differ from the peer's")
        if not torch.allclose(mine.scores.cpu(), theirs.scores.cpu(), rtol=0, atol=SCORE_TOLERANCE):
            raise AssertionError(f"image {image}: scores differ from the peer's by more than {SCORE_TOLERANCE}")
        if len(mine.labels):
            different += int((mine.masks != theirs.masks.to(mine.masks)).sum())
            pixels += mine.masks.numel()
    _check_pixels(different, pixels)


def check_encodings(ours: Sequence[Any], peer: Sequence[Any], *, exactly: bool) -> None:
    """Assert that run lengths mean the same masks.

    Args:
        ours: COCO's compressed run lengths.
        peer: the same of the peer.
        exactly: every character; else the pixels as in `check_detections`.

    Raises:
        AssertionError: they differ.
    """
    mine, theirs = ([_plain(rle) for rle in rles] for rles in (ours, peer))
    if len(mine) != len(theirs):
        raise AssertionError(f"{len(mine)} encodings, the peer has {len(theirs)}")
    if exactly and mine != theirs:
        raise AssertionError("run lengths differ from the peer's")
    if not mine or mine == theirs:
        return
    size = tuple(mine[0]["size"])
    different = sum(
        int((decode_masks([one], size=size) != decode_masks([other], size=size)).sum())
        for one, other in zip(mine, theirs, strict=True)
    )
    _check_pixels(different, len(mine) * size[0] * size[1])


def _check_pixels(different: int, pixels: int) -> None:
    if different > PIXEL_SHARE * pixels:
        raise AssertionError(f"{different} of {pixels} mask pixels differ from the peer's")


def _plain(rle: Any) -> Any:
    counts = rle["counts"]
    return dict(size=[*map(int, rle["size"])], counts=counts.decode("ascii") if isinstance(counts, bytes) else counts)
