"""Post-processing: network outputs to scored, suppressed, full-size masks with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from solo.masks.bitmaps import boxes_from_masks
from solo.masks.components import keep_largest_component
from solo.masks.encoding import encode_resized
from solo.masks.resize import resize_masks
from solo.models.candidates import ScoredCandidates, Suppression, select_candidates
from solo.models.decoders import MaskDecoder, build_mask_decoder
from solo.models.grid import Grid
from solo.ops import matrix_nms, points_nms
from solo.registry import TASK_UTILS
from solo.structures import Outputs

MASK_FORMATS = ("bool", "rle")


@TASK_UTILS.register_module()
class MatrixNMS:
    """`solo.ops.matrix_nms` with its settings.

    Attributes:
        is_monotone: a score depends on better masks alone and never grows. On a CPU decoding then ends once the
            detections are final; a suppression without this attribute gets all of the best `nms_pre`.
    """

    is_monotone = True

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

    Memory is bounded for any number of candidates: beside outputs and results an image takes at most about
    `1.25 * chunk_bytes + (3 * nms_pre + 9 * max_per_img) * h * w` bytes (225 MB at 800x1333 with the defaults), half a
    `chunk_bytes` more where masks are products (Decoupled SOLO). "bool" results are up to `max_per_img` masks of the
    size of the image; "rle" results are small, and are encoded without a full-size mask.

    Args:
        grid: the cells.
        nms: decays the scores of overlapping masks.
        score_thr: a cell's class is a candidate if its score is larger.
        mask_thr: a pixel belongs to a mask if its probability is larger; at least 0.
        largest_component: a detection's mask is its largest connected component at stride 4, without the specks that
            kernels leave on other objects; objects that something hides in the middle lose a part. False in the
            reference implementations.
        min_area_factor: a mask needs more pixels at stride 4 than this factor times its level's stride; 1 in the
            reference implementations, and 0 keeps every mask that has a pixel.
        nms_pre: how many candidates, the best, enter the NMS.
        filter_thr: the least decayed score of a detection.
        max_per_img: how many detections, the best, are kept.
        mask_format: form of the masks of a result: "bool" (bitmaps) or "rle" (COCO's compressed run-length encoding).
        chunk_bytes: bytes of mask probabilities that are held at most. A smaller value saves memory and costs time,
            with the same results: what is not held is decoded again if its detection survives.

    Raises:
        ValueError: `mask_format` is unknown, `mask_thr` is negative or `chunk_bytes` is not positive.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        nms: MatrixNMS,
        score_thr: float = 0.1,
        mask_thr: float = 0.5,
        largest_component: bool = False,
        min_area_factor: float = 1.0,
        nms_pre: int = 500,
        filter_thr: float = 0.05,
        max_per_img: int = 100,
        mask_format: Literal["bool", "rle"] = "bool",
        chunk_bytes: int = 48 * 2**20,
    ) -> None:
        if mask_format not in MASK_FORMATS:
            raise ValueError(f"mask_format must be one of {MASK_FORMATS}, not {mask_format!r}")
        if mask_thr < 0:
            raise ValueError(f"mask_thr must be at least 0, got {mask_thr}")
        if chunk_bytes <= 0:
            raise ValueError(f"chunk_bytes must be positive, got {chunk_bytes}")
        self.grid = grid
        self.nms = nms
        self.score_thr = score_thr
        self.mask_thr = mask_thr
        self.largest_component = largest_component
        self.min_area_factor = min_area_factor
        self.nms_pre = nms_pre
        self.filter_thr = filter_thr
        self.max_per_img = max_per_img
        self.mask_format = mask_format
        self.chunk_bytes = chunk_bytes

    @torch.no_grad()
    def __call__(
        self,
        outputs: Outputs,
        *,
        image_sizes: Sequence[tuple[int, int]],
        original_sizes: Sequence[tuple[int, int]],
    ) -> list[InstanceData]:
        """Detect the objects of a batch.

        Args:
            outputs: the network's outputs.
            image_sizes: (height, width) of each network input without its padding, pixels.
            original_sizes: (height, width) of each original image, pixels.

        Returns:
            One record an image, by descending score, on the device of the outputs: labels (D,) int64, scores (D,)
            float32, masks and bboxes (D, 4) float32 x1 y1 x2 y2, both in pixels of the original image. Masks are
            (D, height, width) bool, or a list of D `RLE`, as `mask_format` says.
            Shapes and types are the same when D is 0.
        """
        decoder = build_mask_decoder(outputs)
        sizes = zip(outputs.cls_logits, image_sizes, original_sizes, strict=True)
        return [self._detect(logits, decoder, image, *pair) for image, (logits, *pair) in enumerate(sizes)]

    def candidates(
        self, cls_logits: Tensor, decoder: MaskDecoder, image: int, *, suppression: Suppression | None = None
    ) -> ScoredCandidates:
        """Select what enters the NMS of one image.

        Args:
            cls_logits: (S, C) class logits of the image.
            decoder: the mask decoder of its batch.
            image: its index in the batch.
            suppression: select only as much as decides over the detections of this image, see `select_candidates`.
        """
        return select_candidates(
            self.cell_scores(cls_logits[None])[0],
            partial(decoder.decode, image),
            mask_size=decoder.mask_size,
            min_areas=self.min_area_factor * self.grid.cell_strides(cls_logits.device),
            score_thr=self.score_thr,
            mask_thr=self.mask_thr,
            limit=self.nms_pre,
            chunk_bytes=self.chunk_bytes,
            suppression=suppression,
        )

    def cell_scores(self, cls_logits: Tensor) -> Tensor:
        """(B, S, C) class logits to (B, S, C) float32 scores after points NMS."""
        levels = self.grid.unflatten(cls_logits.float().sigmoid())
        return self.grid.flatten([points_nms(level) for level in levels])

    def clean(self, probabilities: Tensor) -> Tensor:
        """With `largest_component`, set probabilities (D, h, w) outside of it to 0; the argument may change too."""
        if not self.largest_component:
            return probabilities
        maps = probabilities.cpu().numpy()
        keep_largest_component(maps, threshold=self.mask_thr)
        return torch.from_numpy(maps).to(probabilities.device)

    def _detect(
        self,
        cls_logits: Tensor,
        decoder: MaskDecoder,
        image: int,
        image_size: tuple[int, int],
        original_size: tuple[int, int],
    ) -> InstanceData:
        # On a GPU the check costs a wait, about what it could save.
        may_end_early = cls_logits.device.type == "cpu" and getattr(self.nms, "is_monotone", False)
        suppression = Suppression(self.nms, self.max_per_img) if may_end_early else None
        found = self.candidates(cls_logits, decoder, image, suppression=suppression)
        candidates, scores = found.candidates, found.suppressed
        if scores is None:
            scores = self.nms(found.masks[candidates.rows], candidates.labels, candidates.scores)
        candidates = candidates._replace(scores=scores)
        best = scores.argsort(descending=True, stable=True)[: self.max_per_img]
        kept = candidates.take(best[scores[best] >= self.filter_thr])
        probabilities = self.clean(found.probabilities(kept.cells))
        del found  # frees its masks and probabilities before full-size masks are made
        sizes = dict(image_size=image_size, original_size=original_size)
        result = InstanceData(labels=kept.labels, scores=kept.scores)
        if self.mask_format == "rle":
            result.masks, result.bboxes = encode_resized(probabilities, **sizes, threshold=self.mask_thr)
        else:
            result.masks = resize_masks(probabilities, **sizes, threshold=self.mask_thr)
            result.bboxes = boxes_from_masks(result.masks)
        return result
