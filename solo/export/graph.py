"""The exported computation: from bytes of images to detections or raw outputs, as one graph of fixed structure.

No step depends on the data: no `nonzero`, loop, boolean index or assignment to a slice. `solo.runtime.metadata` defines
inputs and outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo.errors import ExportError
from solo.export.static_masks import StaticMasks, build_static_masks, flat_rows, select_rows
from solo.models.postprocess import MatrixNMS, SOLOv2PostProcessor
from solo.models.preprocessor import ImagePreprocessor
from solo.models.solov2 import SOLOv2
from solo.runtime.metadata import MASK_STRIDE
from solo.structures import SOLOv2Outputs


class ExportedGraph(nn.Module, ABC):
    """A model that takes bytes and returns tensors.

    Args:
        model: in evaluation mode; its network is used, not copied.

    Attributes:
        pad_value: the bytes that stand for padding: the mean colour, rounded. They become exactly zero, as the padding
            of `ImagePreprocessor`; for pixels of the image this is a change of at most half a grey level.

    Raises:
        ExportError: the model normalises images otherwise than `ImagePreprocessor`.
    """

    mean: Tensor
    std: Tensor
    pad_value: Tensor

    def __init__(self, model: SOLOv2) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        if type(preprocessor) is not ImagePreprocessor:
            raise ExportError(
                "model.data_preprocessor must be an ImagePreprocessor to be exported, "
                f"got {type(preprocessor).__name__}"
            )
        self.model = model
        self.register_buffer("mean", preprocessor.mean.detach().float().clone())
        self.register_buffer("std", preprocessor.std.detach().float().clone())
        self.register_buffer("pad_value", preprocessor.mean.detach().float().round().clamp(0, 255))

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs, in the order of their names in `solo.runtime.metadata`.

        Args:
            images: (B, C, H, W) uint8 in the channel order of the network, H and W divisible by 32.
        """

    def normalise(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 to float32, zero where all channels have the value of the padding."""
        images = images.float()
        difference = (images - self.pad_value).abs().sum(dim=1, keepdim=True)  # of integers: exact
        return (images - self.mean) / self.std * difference.clamp(max=1)


class RawGraph(ExportedGraph):
    """Contract "raw": the outputs of a SOLOv2 network.

    Raises:
        ExportError: the model is no SOLOv2; also as `ExportedGraph`.
    """

    def __init__(self, model: SOLOv2) -> None:
        super().__init__(model)
        if model.mask_feature is None:
            raise ExportError(
                f"contract raw needs the dynamic kernels of SOLOv2, and {type(model.head).__name__} has none; export "
                "contract detections"
            )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model.compute_outputs(self.normalise(images))
        assert isinstance(outputs, SOLOv2Outputs)
        return outputs.cls_logits.float(), outputs.kernels.float(), outputs.mask_feats.float()


class DetectionsGraph(ExportedGraph):
    """Contract "detections": the same detections as `SOLOv2PostProcessor`, at stride 4.

    Equal to it while at most `nms_pre` candidates pass `score_thr`: it takes the best by class score, not by class
    score times maskness, since all masks are computed at once.

    Raises:
        ExportError: the post-processing is not `SOLOv2PostProcessor` with `MatrixNMS`; also as `ExportedGraph`.
    """

    min_areas: Tensor  # (S,)
    max_detections: int

    def __init__(self, model: SOLOv2) -> None:
        super().__init__(model)
        settings = model.postprocess
        if type(settings) is not SOLOv2PostProcessor or type(settings.nms) is not MatrixNMS:
            raise ExportError(
                "contract detections contains SOLOv2PostProcessor with MatrixNMS, but the config has "
                f"{type(settings).__name__} with {type(getattr(settings, 'nms', None)).__name__}; export contract raw"
            )
        self.grid, self.settings = settings.grid, settings
        self.masks: StaticMasks = build_static_masks(model)
        self.num_classes = model.num_classes
        self.num_candidates = min(settings.nms_pre, self.grid.num_cells * self.num_classes)
        self.max_detections = min(settings.max_per_img, self.num_candidates)
        self.register_buffer("min_areas", settings.min_area_factor * self.grid.cell_strides().float())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model.compute_outputs(self.normalise(images))
        class_scores, index = self._class_scores(outputs.cls_logits).topk(self.num_candidates)  # both (B, N)
        cells = torch.div(index, self.num_classes, rounding_mode="trunc")
        labels = index - cells * self.num_classes
        probabilities = self.masks(outputs, cells).float()  # (B, N, h, w)
        is_inside = probabilities > self.settings.mask_thr
        areas = is_inside.float().sum(dim=(2, 3))
        sums = torch.where(is_inside, probabilities, 0.0).sum(dim=(2, 3))
        is_candidate = (class_scores > 0) & (areas > select_rows(self.min_areas, cells))
        scores = torch.where(is_candidate, class_scores * sums / areas.clamp(min=1), 0.0)
        is_better = _precedes(scores, index[:, :, None] < index[:, None])  # (B, N, N)
        is_same_class = labels[:, :, None] == labels[:, None]
        decay = self._matrix_nms(is_inside.float().flatten(2), areas, is_better & is_same_class)
        return self._detections(labels, scores * decay, probabilities, is_candidate, is_better)

    def _class_scores(self, cls_logits: Tensor) -> Tensor:
        """(B, S, C) logits to (B, S * C) scores after points NMS; 0 where none is larger than `score_thr`."""
        levels = []
        for level in self.grid.unflatten(cls_logits.float().sigmoid()):
            window_max = F.max_pool2d(level, kernel_size=2, stride=1, padding=1)[..., :-1, :-1]
            levels.append(torch.where((window_max == level) & (level > self.settings.score_thr), level, 0.0))
        return self.grid.flatten(levels).flatten(1)

    def _matrix_nms(self, masks: Tensor, areas: Tensor, suppresses: Tensor) -> Tensor:
        """Decay (B, N) of each score, as `solo.ops.matrix_nms` without sorting.

        Args:
            masks: (B, N, pixels) float32, 0 or 1; counts are exact up to 2**24 pixels.
            areas: (B, N).
            suppresses: (B, N, N) whether the first candidate is a better one of the second one's class.
        """
        intersections = masks @ masks.transpose(1, 2)
        unions = areas[:, :, None] + areas[:, None] - intersections
        overlap = torch.where(suppresses, intersections / unions.clamp(min=1), 0.0)
        compensation = overlap.amax(dim=1)[:, :, None]
        if self.settings.nms.kernel == "gaussian":
            decay = torch.exp(-self.settings.nms.sigma * (overlap**2 - compensation**2))
        else:
            decay = (1 - overlap) / (1 - compensation).clamp(min=torch.finfo(torch.float32).eps)
        return decay.amin(dim=1)

    def _detections(
        self, labels: Tensor, scores: Tensor, probabilities: Tensor, is_candidate: Tensor, is_better: Tensor
    ) -> tuple[Tensor, ...]:
        """Select the best `max_detections`, with ties in the order that `is_better` (B, N, N) gives."""
        is_kept = is_candidate & (scores >= self.settings.filter_thr)
        # Engines order equal scores as they like: TopK sees the ranks instead, which are all different.
        keys = torch.where(is_kept, scores, -1.0)
        ranks = _precedes(keys, is_better).float().sum(dim=1)
        rows = flat_rows((-ranks).topk(self.max_detections)[1], self.num_candidates)  # (B, D)
        is_kept, labels, scores = (select_rows(values.flatten(), rows) for values in (is_kept, labels, scores))
        probabilities = select_rows(probabilities.flatten(0, 1), rows)  # (B, D, h, w)
        boxes = _boxes(probabilities > self.settings.mask_thr) * is_kept[..., None]
        # A NaN, which an overflowing kernel produces, is outside.
        is_set = (probabilities > 0) & is_kept[..., None, None]
        masks = torch.where(is_set, probabilities * 255, 0.0).round().to(torch.uint8)
        return torch.where(is_kept, scores, 0.0), torch.where(is_kept, labels, -1), boxes, masks


def _precedes(keys: Tensor, tie_break: Tensor) -> Tensor:
    """(B, N, N) whether the first comes before the second: by descending keys (B, N), where equal by `tie_break`."""
    first, second = keys[:, :, None], keys[:, None]
    return (first > second) | ((first == second) & tie_break)


def _boxes(masks: Tensor) -> Tensor:
    """Tightest boxes (B, D, 4) float32 around stride-4 masks (B, D, h, w) bool that are not empty, in input pixels."""
    sides = []
    for axis in (2, 3):  # x from the columns, then y from the rows
        occupied = masks.float().amax(dim=axis)  # (B, D, length)
        positions = torch.arange(occupied.shape[-1], device=masks.device, dtype=torch.float32)
        past = torch.where(occupied > 0, positions + 1, 0.0).amax(dim=2)
        first = torch.where(occupied > 0, positions - occupied.shape[-1], 0.0).amin(dim=2) + occupied.shape[-1]
        sides.append((first, past))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], dim=2) * MASK_STRIDE
