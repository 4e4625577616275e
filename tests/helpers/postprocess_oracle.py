"""Post-processing once more, one candidate at a time, with Python's loops."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.structures import SOLOv2Outputs


def loop_oracle(
    outputs: SOLOv2Outputs,
    image: int,
    *,
    num_grids: tuple[int, ...],
    strides: tuple[int, ...],
    score_thr: float,
    mask_thr: float,
    nms_pre: int,
    filter_thr: float,
    max_per_img: int,
    min_area_factor: float,
    original: tuple[int, int],
) -> list[tuple[float, int, Tensor]]:
    """The whole chain, one candidate at a time: (score, label, mask) by descending score."""
    scores = outputs.cls_logits[image].sigmoid()
    candidates = []
    first_cell = 0
    for side, stride in zip(num_grids, strides, strict=True):
        for row in range(side):
            for column in range(side):
                cell = first_cell + row * side + column
                for label in range(scores.shape[1]):
                    score = float(scores[cell, label])
                    behind = [
                        float(scores[first_cell + y * side + x, label])
                        for y in range(max(row - 1, 0), row + 1)
                        for x in range(max(column - 1, 0), column + 1)
                    ]
                    if score < max(behind) or score <= score_thr:
                        continue
                    mask = torch.einsum("e,ehw->hw", outputs.kernels[image, cell], outputs.mask_feats[image]).sigmoid()
                    binary = mask > mask_thr
                    if int(binary.sum()) > min_area_factor * stride:
                        candidates.append((score * float(mask[binary].mean()), label, mask, binary))
        first_cell += side * side
    candidates = sorted(candidates, key=lambda candidate: -candidate[0])[:nms_pre]

    def iou(one: int, other: int) -> float:
        a, b = candidates[one][3], candidates[other][3]
        return int((a & b).sum()) / int((a | b).sum())

    def suppressors(row: int) -> list[int]:
        return [other for other in range(row) if candidates[other][1] == candidates[row][1]]

    detections = []
    for row, (score, label, mask, _) in enumerate(candidates):
        factors = [1.0]
        for other in suppressors(row):
            compensation = max((iou(other, third) for third in suppressors(other)), default=0.0)
            factors.append(math.exp(-2 * iou(row, other) ** 2) / math.exp(-2 * compensation**2))
        if score * min(factors) >= filter_thr:
            enlarged = F.interpolate(mask[None, None], scale_factor=4, mode="bilinear")
            mask = F.interpolate(enlarged, original, mode="bilinear")[0, 0] > mask_thr
            detections.append((score * min(factors), label, mask))
    return sorted(detections, key=lambda detection: -detection[0])[:max_per_img]
