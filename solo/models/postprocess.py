"""Post-processing: network outputs to scored, suppressed, full-size masks with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from solo.models.grid import Grid
from solo.ops import boxes_from_masks, dynamic_conv, maskness, matrix_nms, points_nms, resize_masks
from solo.registry import TASK_UTILS
from solo.structures import Candidates, SOLOv2Outputs


@TASK_UTILS.register_module()
class MatrixNMS:
    """`solo.ops.matrix_nms` with its settings."""

    def __init__(self, *, kernel: Literal["gaussian", "linear"] = "gaussian", sigma: float = 2.0) -> None:
        if kernel not in ("gaussian", "linear"):
            raise ValueError(f"kernel must be 'gaussian' or 'linear', not {kernel!r}")
        self.kernel, self.sigma = kernel, sigma

    def __call__(self, masks: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
        """(D, h, w) bool masks by descending score, (D,) labels, (D,) scores to (D,) decayed scores."""
        return matrix_nms(masks, labels, scores, kernel=self.kernel, sigma=self.sigma)


@TASK_UTILS.register_module()
class SOLOv2PostProcessor:
    """Points NMS, selection, dynamic convolution, area filter, maskness, NMS, resize, boxes: in this order.

    Args:
        grid: the cells.
        nms: decays the scores of overlapping masks.
        score_thr: a cell's class is a candidate if its score is larger.
        mask_thr: a pixel belongs to a mask if its probability is larger.
        min_area_factor: a mask needs more than this many times its level's stride of pixels at stride 4; the peers
            have 1, and 0 keeps every mask that has a pixel.
        nms_pre: the best candidates that enter the NMS.
        filter_thr: the decayed score a detection needs at least.
        max_per_img: the best detections that are kept.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        nms: MatrixNMS,
        score_thr: float = 0.1,
        mask_thr: float = 0.5,
        min_area_factor: float = 1.0,
        nms_pre: int = 500,
        filter_thr: float = 0.05,
        max_per_img: int = 100,
    ) -> None:
        self.grid = grid
        self.nms = nms
        self.score_thr = score_thr
        self.mask_thr = mask_thr
        self.min_area_factor = min_area_factor
        self.nms_pre = nms_pre
        self.filter_thr = filter_thr
        self.max_per_img = max_per_img

    @torch.no_grad()
    def __call__(
        self,
        outputs: SOLOv2Outputs,
        *,
        image_sizes: Sequence[tuple[int, int]],
        original_sizes: Sequence[tuple[int, int]],
    ) -> list[InstanceData]:
        """Detect the objects of a batch.

        Args:
            outputs: the network's outputs.
            image_sizes: (height, width) of each network input without its padding, pixels.
            original_sizes: (height, width) of each picture, pixels.

        Returns:
            One record an image, by descending score, on the device of the outputs: labels (D,) int64, scores (D,)
            float32, masks (D, height, width) bool and bboxes (D, 4) float32 x1 y1 x2 y2, both in the picture's pixels.
            Shapes and types are the same when D is 0.
        """
        cell_scores = self._cell_scores(outputs.cls_logits)
        images = zip(cell_scores, outputs.kernels, outputs.mask_feats, image_sizes, original_sizes, strict=True)
        return [self._detect(*image) for image in images]

    def _cell_scores(self, cls_logits: Tensor) -> Tensor:
        """(B, S, C) class logits to (B, S, C) float32 scores after points NMS."""
        levels = self.grid.unflatten(cls_logits.float().sigmoid())
        return self.grid.flatten([points_nms(level) for level in levels])

    def _detect(
        self,
        cell_scores: Tensor,
        kernels: Tensor,
        mask_feats: Tensor,
        image_size: tuple[int, int],
        original_size: tuple[int, int],
    ) -> InstanceData:
        candidates, probabilities = self._draw(cell_scores, kernels, mask_feats)
        candidates = self._suppress(candidates, probabilities > self.mask_thr)
        masks = resize_masks(
            probabilities[candidates.rows],
            image_size=image_size,
            original_size=original_size,
            threshold=self.mask_thr,
        )
        return InstanceData(
            labels=candidates.labels, scores=candidates.scores, masks=masks, bboxes=boxes_from_masks(masks)
        )

    def _draw(self, cell_scores: Tensor, kernels: Tensor, mask_feats: Tensor) -> tuple[Candidates, Tensor]:
        """Draw the mask of every cell with a candidate class, once a cell; drop the small ones, weigh in the maskness.

        Returns:
            The candidates in the order (cell, class), and (D', h, w) float32 mask probabilities that `rows` points to.
        """
        cells, labels = (cell_scores > self.score_thr).nonzero(as_tuple=True)
        drawn_cells, rows = cells.unique(return_inverse=True)
        probabilities = dynamic_conv(mask_feats, kernels[drawn_cells]).float().sigmoid()
        masks = probabilities > self.mask_thr
        min_areas = self.min_area_factor * self.grid.cell_strides(masks.device)[drawn_cells]
        large_enough = masks.sum(dim=(1, 2)) > min_areas
        scores = cell_scores[cells, labels] * maskness(probabilities, masks)[rows]
        candidates = Candidates(scores=scores, labels=labels, cells=cells, rows=rows)
        return candidates.take(large_enough[rows]), probabilities

    def _suppress(self, candidates: Candidates, masks: Tensor) -> Candidates:
        """Best `nms_pre` into the NMS, best `max_per_img` out of it, by descending decayed score."""
        candidates = candidates.take(candidates.scores.argsort(descending=True, stable=True)[: self.nms_pre])
        decayed = self.nms(masks[candidates.rows], candidates.labels, candidates.scores)
        candidates = candidates._replace(scores=decayed).take(decayed >= self.filter_thr)
        return candidates.take(candidates.scores.argsort(descending=True, stable=True)[: self.max_per_img])
