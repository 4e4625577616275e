"""Who is measured at prediction: ours and mmdet's detector with the same weights, behind the same few methods."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import Tensor

import solo.models.postprocess
from benchmarks.drawn_outputs import DrawnOutputs
from benchmarks.images import inner_dataset
from benchmarks.mmdet_peer import build_mmdet, mmdet_pipeline
from benchmarks.stages import Timed
from solo.checkpoints import load_checkpoint
from solo.checkpoints.saving import save_atomically
from solo.datasets import LoadImage
from solo.deployment import DeploymentOptions
from solo.errors import ConfigError
from solo.inference.predictor import SOLOPredictor
from solo.masks.encoding import encode_bitmaps
from solo.models.grid import Grid
from solo.registry import MODELS
from solo.structures import SOLOv2Outputs

Size = tuple[int, int]
STAGES = ("load", "preprocess", "network", "decode", "nms", "resize", "rle", "other")


class Predictor(Protocol):
    """What is measured of a side.

    Attributes:
        model: with a `test_step`, and a `val_step` for batches of a loader.
    """

    model: Any

    def predict(self, paths: Sequence[str]) -> list[InstanceData]:
        """Image files to labels, scores and bitmaps on the CPU."""

    def give(self, drawn: DrawnOutputs | None) -> None:
        """From now on the network's outputs are replaced by drawn ones once they are computed; None ends it."""

    def outputs(self) -> SOLOv2Outputs:
        """What its network computed last, in our form."""

    def own_form(self, outputs: SOLOv2Outputs) -> Any:
        """Outputs as `detect` takes them."""

    def detect(self, outputs: Any, *, image_size: Size, original_size: Size) -> InstanceData:
        """Outputs of one image to labels, scores and bitmaps."""

    def detect_encoded(self, outputs: Any, *, image_size: Size, original_size: Size) -> list[Any]:
        """Outputs of one image to COCO's run lengths, as the evaluation makes them."""

    def encode(self, masks: Tensor) -> list[Any]:
        """(D, H, W) bool to COCO's run lengths, as the evaluation makes them."""

    def timed_functions(self) -> list[Timed]:
        """What belongs to which of `STAGES`."""


def build_predictors(
    config: Config,
    *,
    checkpoint: str | None,
    against: str | None,
    work_dir: str,
    device: str | None = None,
    deployment: DeploymentOptions | None = None,
) -> list[Predictor]:
    """Ours as a user gets it and, if asked for, mmdet's detector with its weights and thresholds.

    Args:
        config: the config; left alone.
        checkpoint: weights; None draws them, and outputs are drawn too (`Predictor.give`).
        against: "mmdet" or None.
        work_dir: folder for drawn weights.
        device: "cpu", "cuda", ...; None is the GPU where there is one.
        deployment: how our network is run; None for what is recommended on the device.

    Raises:
        ConfigError: a model that mmdet cannot build.
        CheckpointError: the weights do not fit the model.
    """
    config = copy.deepcopy(config)
    config.model.backbone.init_cfg = None
    if against:
        if config.model.get("kernel_size", 1) != 1:
            raise ConfigError("model.kernel_size: mmdet's prediction cannot pad, so its dynamic convolution is 1x1")
        config.model.postprocess.min_area_factor = 1.0
    MMLogger.get_current_instance().setLevel("WARNING")
    weights = checkpoint or _drawn_weights(config, work_dir)
    ours = OurPredictor(config, weights, device=device, deployment=deployment)
    if against is None:
        return [ours]
    return [ours, MMDetPredictor(config, ours.weights, device=ours.device)]


def _drawn_weights(config: Config, work_dir: str) -> str:
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    path = os.path.join(work_dir, "drawn_weights.pth")
    save_atomically(dict(state_dict=model.state_dict(), meta={}), path)
    return path


class OurPredictor:
    """`SOLOPredictor`, as a user makes it.

    Attributes:
        weights: the state dict of the checkpoint.
        device: where it runs.
    """

    def __init__(
        self, config: Config, checkpoint: str, *, device: str | None, deployment: DeploymentOptions | None
    ) -> None:
        self._predictor = SOLOPredictor(config, checkpoint, device, deployment=deployment)
        self.model = self._predictor.model
        self.device = self._predictor.device
        # Not the model's own, which deployment may have changed.
        self.weights: dict[str, Tensor] = load_checkpoint(checkpoint)["state_dict"]
        self._encoder = copy.copy(self.model.postprocess)
        self._encoder.mask_format = "rle"
        self._computed: dict[str, Any] = {}
        self._given = _Given(self.own_form)
        self.model.head.register_forward_hook(self._on_head)
        self.model.mask_feature.register_forward_hook(self._on_mask_feature)

    def predict(self, paths: Sequence[str]) -> list[InstanceData]:
        """See `Predictor`."""
        return self._predictor(paths, batch_size=len(paths))

    def give(self, drawn: DrawnOutputs | None) -> None:
        """See `Predictor`."""
        self._given.drawn = drawn

    def outputs(self) -> SOLOv2Outputs:
        """See `Predictor`."""
        cls_logits, kernels = self._computed["head"]
        return SOLOv2Outputs(cls_logits, kernels, self._computed["mask_feature"])

    def own_form(self, outputs: SOLOv2Outputs) -> SOLOv2Outputs:
        """See `Predictor`."""
        return SOLOv2Outputs(*(tensor.to(self.device) for tensor in outputs))

    def detect(self, outputs: SOLOv2Outputs, *, image_size: Size, original_size: Size) -> InstanceData:
        """See `Predictor`."""
        return self.model.postprocess(outputs, image_sizes=[image_size], original_sizes=[original_size])[0]

    def detect_encoded(self, outputs: SOLOv2Outputs, *, image_size: Size, original_size: Size) -> list[Any]:
        """See `Predictor`."""
        found = self._encoder(outputs, image_sizes=[image_size], original_sizes=[original_size])[0]
        rles: list[Any] = found.masks
        return rles

    def encode(self, masks: Tensor) -> list[Any]:
        """See `Predictor`."""
        return [*encode_bitmaps(masks).rles]

    def timed_functions(self) -> list[Timed]:
        """See `Predictor`."""
        return [
            Timed(LoadImage, "transform", "load"),
            Timed(Compose, "__call__", "preprocess"),
            Timed(self.model.data_preprocessor, "forward", "preprocess"),
            Timed(self.model, "compute_outputs", "network"),
            Timed(self.model, "postprocess", "decode"),
            Timed(self.model.postprocess, "nms", "nms"),
            Timed(solo.models.postprocess, "resize_masks", "resize"),
            Timed(solo.models.postprocess, "boxes_from_masks", "resize"),
        ]

    def _on_head(self, module: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> Any:
        self._computed["head"] = output
        given = self._given.for_size(inputs[0][0].shape[-2:])
        if given is None:
            return output
        return tuple(_like(real, drawn) for real, drawn in zip(output, given[:2], strict=True))

    def _on_mask_feature(self, module: Any, inputs: tuple[Any, ...], output: Tensor) -> Any:
        self._computed["mask_feature"] = output
        given = self._given.for_size(output.shape[-2:])
        return output if given is None else _like(output, given.mask_feats)


class MMDetPredictor:
    """mmdet's detector, used as its `inference_detector` and its `CocoMetric` do."""

    def __init__(self, config: Config, weights: Mapping[str, Tensor], *, device: torch.device) -> None:
        self.model = build_mmdet(config.model, weights).to(device).eval()
        self.device = device
        self._grid = Grid(**config.model.grid)
        steps = mmdet_pipeline(inner_dataset(config, "val")["pipeline"])
        self._pipeline = Compose([ConfigDict(step) for step in steps])
        self._computed: tuple[list[Tensor], list[Tensor], Tensor]
        self._given = _Given(self.own_form)
        self.model.mask_head.register_forward_hook(self._on_head)

    @torch.no_grad()
    def predict(self, paths: Sequence[str]) -> list[InstanceData]:
        """See `Predictor`."""
        batch = pseudo_collate([self._pipeline(dict(img_path=path, img_id=0)) for path in paths])
        return [sample.pred_instances.to("cpu") for sample in self.model.test_step(batch)]

    def give(self, drawn: DrawnOutputs | None) -> None:
        """See `Predictor`."""
        self._given.drawn = drawn

    def outputs(self) -> SOLOv2Outputs:
        """See `Predictor`."""
        kernels, cls_logits, mask_feats = self._computed
        return SOLOv2Outputs(self._grid.flatten(cls_logits), self._grid.flatten(kernels), mask_feats)

    def own_form(self, outputs: SOLOv2Outputs) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """See `Predictor`."""
        kernels, cls_logits = (
            [level.contiguous() for level in self._grid.unflatten(cells.to(self.device))]
            for cells in (outputs.kernels, outputs.cls_logits)
        )
        return kernels, cls_logits, outputs.mask_feats.to(self.device)

    @torch.no_grad()
    def detect(self, outputs: Any, *, image_size: Size, original_size: Size) -> InstanceData:
        """See `Predictor`."""
        kernels, cls_logits, mask_feats = outputs
        metas = [dict(img_shape=image_size, ori_shape=original_size)]
        # It overwrites the list of the logits.
        return self.model.mask_head.predict_by_feat(kernels, list(cls_logits), mask_feats, batch_img_metas=metas)[0]

    def detect_encoded(self, outputs: Any, *, image_size: Size, original_size: Size) -> list[Any]:
        """See `Predictor`."""
        return self.encode(self.detect(outputs, image_size=image_size, original_size=original_size).masks)

    def encode(self, masks: Tensor) -> list[Any]:
        """See `Predictor`."""
        from mmdet.structures.mask import encode_mask_results

        return [*encode_mask_results(masks.detach().cpu().numpy())]

    def timed_functions(self) -> list[Timed]:
        """See `Predictor`."""
        from mmcv.transforms import LoadImageFromFile
        from mmdet.models.dense_heads import solov2_head

        return [
            Timed(LoadImageFromFile, "transform", "load"),
            Timed(Compose, "__call__", "preprocess"),
            Timed(self.model.data_preprocessor, "forward", "preprocess"),
            Timed(self.model, "extract_feat", "network"),
            Timed(self.model.mask_head, "forward", "network"),
            Timed(self.model.mask_head, "predict_by_feat", "decode"),
            Timed(solov2_head, "mask_matrix_nms", "nms"),
            Timed(solov2_head.F, "interpolate", "resize", within="decode"),
        ]

    def _on_head(self, module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        kernels, cls_logits, mask_feats = output
        # What comes after it overwrites the list of the logits.
        self._computed = [*kernels], [*cls_logits], mask_feats
        given = self._given.for_size(mask_feats.shape[-2:])
        if given is None:
            return output
        return (
            [_like(*pair) for pair in zip(kernels, given[0], strict=True)],
            [_like(*pair) for pair in zip(cls_logits, given[1], strict=True)],
            _like(mask_feats, given[2]),
        )


class _Given:
    """Drawn outputs in the form of a side, kept from one call to the next while the size stays."""

    def __init__(self, own_form: Callable[[SOLOv2Outputs], Any]) -> None:
        self.drawn: DrawnOutputs | None = None
        self._own_form = own_form
        self._last: tuple[SOLOv2Outputs, Any] | None = None

    def for_size(self, size: Sequence[int]) -> Any:
        if self.drawn is None:
            return None
        outputs = self.drawn.for_size(*size)
        if self._last is None or self._last[0] is not outputs:
            self._last = outputs, self._own_form(outputs)
        return self._last[1]


def _like(real: Tensor, drawn: Tensor) -> Tensor:
    """Drawn outputs of one image for each image of the batch, in the type of the real ones."""
    return drawn.to(real.dtype).expand_as(real)
