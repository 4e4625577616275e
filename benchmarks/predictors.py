"""Both implementations in prediction behind one interface, and the assertion that they detect the same."""

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
from benchmarks.datasets import inner_dataset
from benchmarks.generated import GeneratedOutputs
from benchmarks.mmdet_reference import build_mmdet, mmdet_pipeline
from benchmarks.timing import TimedFunction
from solo.checkpoints import load_checkpoint
from solo.checkpoints.saving import save_atomically
from solo.config.overrides import start_from_random_weights
from solo.datasets import LoadImage
from solo.deployment import DeploymentOptions
from solo.errors import ConfigError
from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.masks.encoding import encode_bitmaps
from solo.masks.rle import decode_masks
from solo.models.grid import Grid
from solo.registry import MODELS
from solo.structures import SOLOv2Outputs

Size = tuple[int, int]
STAGES = ("load", "preprocess", "network", "decode", "nms", "resize", "rle", "other")
NETWORK_TOLERANCE = 1e-4
"""Of network outputs, relative to the largest value: sums in another order, over all layers."""
SCORE_TOLERANCE = 1e-5
PIXEL_SHARE = 1e-5
"""Of the pixels of all masks: a probability at the threshold may fall on either side."""


class Predictor(Protocol):
    """What a benchmark calls of an implementation.

    Attributes:
        model: with a `test_step`, and a `val_step` for batches of a loader.
    """

    model: Any

    def predict(self, paths: Sequence[str]) -> list[InstanceData]:
        """Image files to labels, scores and bitmaps on the CPU."""

    def replace_outputs(self, generated: GeneratedOutputs | None) -> None:
        """Replace the network's outputs, once computed, by generated ones; None restores them."""

    def outputs(self) -> SOLOv2Outputs:
        """The last outputs that the network computed, in our form."""

    def convert_outputs(self, outputs: SOLOv2Outputs) -> Any:
        """Convert our outputs to the form that `detect` takes."""

    def detect(self, outputs: Any, *, image_size: Size, original_size: Size) -> InstanceData:
        """Outputs of one image to labels, scores and bitmaps."""

    def detect_encoded(self, outputs: Any, *, image_size: Size, original_size: Size) -> list[Any]:
        """Outputs of one image to COCO's RLEs, as the evaluation makes them."""

    def encode(self, masks: Tensor) -> list[Any]:
        """(D, H, W) bool to COCO's RLEs, as the evaluation makes them."""

    def timed_functions(self) -> list[TimedFunction]:
        """Functions to time, with their stage out of `STAGES`."""


def build_predictors(
    config: Config,
    *,
    checkpoint: str | None,
    against: str | None,
    work_dir: str,
    device: str | None = None,
    deployment: DeploymentOptions | None = None,
) -> list[Predictor]:
    """Build ours as a user does, and optionally mmdet's detector with its weights and thresholds.

    Args:
        config: the config; it is not changed.
        checkpoint: weights; None for random ones.
        against: "mmdet" or None.
        work_dir: folder for random weights.
        device: "cpu", "cuda", ...; None for the GPU if there is one.
        deployment: options of our network; None for the recommended ones.

    Raises:
        ConfigError: a model that mmdet cannot build.
        CheckpointError: the weights do not fit the model.
    """
    config = copy.deepcopy(config)
    start_from_random_weights(config)
    if against:
        if config.model.get("kernel_size", 1) != 1:
            raise ConfigError("model.kernel_size: mmdet's prediction cannot pad, so its dynamic convolution is 1x1")
        config.model.postprocess.update(min_area_factor=1.0, largest_component=False)
    MMLogger.get_current_instance().setLevel("WARNING")
    weights = checkpoint or _random_weights(config, work_dir)
    ours = OurPredictor(config, weights, device=device, deployment=deployment)
    if against is None:
        return [ours]
    return [ours, MMDetPredictor(config, ours.weights, device=ours.device)]


def _random_weights(config: Config, work_dir: str) -> str:
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    path = os.path.join(work_dir, "random_weights.pth")
    save_atomically(dict(state_dict=model.state_dict(), meta={}), path)
    return path


class OurPredictor:
    """`SOLOPredictor`, behind the interface of `Predictor`.

    Attributes:
        weights: the state dict of the checkpoint.
        device: where the model is.
    """

    def __init__(
        self, config: Config, checkpoint: str, *, device: str | None, deployment: DeploymentOptions | None
    ) -> None:
        self._predictor = SOLOPredictor(config, checkpoint, device, deployment=deployment)
        self.model = self._predictor.model
        self.device = self._predictor.device
        # Not the model's state dict, which deployment may have changed.
        self.weights: dict[str, Tensor] = load_checkpoint(checkpoint)["state_dict"]
        self._decoder = copy.copy(self.model.postprocess)
        self._decoder.mask_format = "bool"
        self._computed: dict[str, Any] = {}
        self._replacement = _ReplacementOutputs(self.convert_outputs)
        self.model.head.register_forward_hook(self._on_head)
        self.model.mask_feature.register_forward_hook(self._on_mask_feature)

    def predict(self, paths: Sequence[str]) -> list[InstanceData]:
        return [
            InstanceData(
                labels=torch.from_numpy(found.labels),
                scores=torch.from_numpy(found.scores),
                bboxes=torch.from_numpy(found.boxes),
                masks=torch.from_numpy(found.to_bool()),
            )
            for found in self._predictor(paths, batch_size=len(paths))
        ]

    def predict_encoded(self, paths: Sequence[str]) -> list[Instances]:
        """Image files to `Instances`, whose masks are RLEs."""
        return self._predictor(paths, batch_size=len(paths))

    def replace_outputs(self, generated: GeneratedOutputs | None) -> None:
        self._replacement.generated = generated

    def outputs(self) -> SOLOv2Outputs:
        cls_logits, kernels = self._computed["head"]
        return SOLOv2Outputs(cls_logits, kernels, self._computed["mask_feature"])

    def convert_outputs(self, outputs: SOLOv2Outputs) -> SOLOv2Outputs:
        return SOLOv2Outputs(*(tensor.to(self.device) for tensor in outputs))

    def detect(self, outputs: SOLOv2Outputs, *, image_size: Size, original_size: Size) -> InstanceData:
        return self._decoder(outputs, image_sizes=[image_size], original_sizes=[original_size])[0]

    def detect_encoded(self, outputs: SOLOv2Outputs, *, image_size: Size, original_size: Size) -> list[Any]:
        found = self.model.postprocess(outputs, image_sizes=[image_size], original_sizes=[original_size])[0]
        rles: list[Any] = found.masks
        return rles

    def encode(self, masks: Tensor) -> list[Any]:
        return [*encode_bitmaps(masks).rles]

    def timed_functions(self) -> list[TimedFunction]:
        return [
            TimedFunction(LoadImage, "transform", "load"),
            TimedFunction(Compose, "__call__", "preprocess"),
            TimedFunction(self.model.data_preprocessor, "forward", "preprocess"),
            TimedFunction(self.model, "compute_outputs", "network"),
            TimedFunction(self.model, "postprocess", "decode"),
            TimedFunction(self.model.postprocess, "nms", "nms"),
            TimedFunction(solo.models.postprocess, "encode_resized", "resize"),
        ]

    def _on_head(self, module: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> Any:
        self._computed["head"] = output
        replacement = self._replacement.for_size(inputs[0][0].shape[-2:])
        if replacement is None:
            return output
        return tuple(_like(*pair) for pair in zip(output, replacement[:2], strict=True))

    def _on_mask_feature(self, module: Any, inputs: tuple[Any, ...], output: Tensor) -> Any:
        self._computed["mask_feature"] = output
        replacement = self._replacement.for_size(output.shape[-2:])
        return output if replacement is None else _like(output, replacement.mask_feats)


class MMDetPredictor:
    """mmdet's detector, called as its `inference_detector` and its `CocoMetric` do."""

    def __init__(self, config: Config, weights: Mapping[str, Tensor], *, device: torch.device) -> None:
        self.model = build_mmdet(config.model, weights).to(device).eval()
        self.device = device
        self._grid = Grid(**config.model.grid)
        steps = mmdet_pipeline(inner_dataset(config, "val")["pipeline"])
        self._pipeline = Compose([ConfigDict(step) for step in steps])
        self._computed: tuple[list[Tensor], list[Tensor], Tensor]
        self._replacement = _ReplacementOutputs(self.convert_outputs)
        self.model.mask_head.register_forward_hook(self._on_head)

    @torch.no_grad()
    def predict(self, paths: Sequence[str]) -> list[InstanceData]:
        batch = pseudo_collate([self._pipeline(dict(img_path=path, img_id=0)) for path in paths])
        return [sample.pred_instances.to("cpu") for sample in self.model.test_step(batch)]

    def replace_outputs(self, generated: GeneratedOutputs | None) -> None:
        self._replacement.generated = generated

    def outputs(self) -> SOLOv2Outputs:
        kernels, cls_logits, mask_feats = self._computed
        return SOLOv2Outputs(self._grid.flatten(cls_logits), self._grid.flatten(kernels), mask_feats)

    def convert_outputs(self, outputs: SOLOv2Outputs) -> tuple[list[Tensor], list[Tensor], Tensor]:
        kernels, cls_logits = (
            [level.contiguous() for level in self._grid.unflatten(cells.to(self.device))]
            for cells in (outputs.kernels, outputs.cls_logits)
        )
        return kernels, cls_logits, outputs.mask_feats.to(self.device)

    @torch.no_grad()
    def detect(self, outputs: Any, *, image_size: Size, original_size: Size) -> InstanceData:
        kernels, cls_logits, mask_feats = outputs
        metas = [dict(img_shape=image_size, ori_shape=original_size)]
        # predict_by_feat overwrites the list of the logits.
        return self.model.mask_head.predict_by_feat(kernels, list(cls_logits), mask_feats, batch_img_metas=metas)[0]

    def detect_encoded(self, outputs: Any, *, image_size: Size, original_size: Size) -> list[Any]:
        return self.encode(self.detect(outputs, image_size=image_size, original_size=original_size).masks)

    def encode(self, masks: Tensor) -> list[Any]:
        from mmdet.structures.mask import encode_mask_results

        return [*encode_mask_results(masks.detach().cpu().numpy())]

    def timed_functions(self) -> list[TimedFunction]:
        from mmcv.transforms import LoadImageFromFile
        from mmdet.models.dense_heads import solov2_head

        return [
            TimedFunction(LoadImageFromFile, "transform", "load"),
            TimedFunction(Compose, "__call__", "preprocess"),
            TimedFunction(self.model.data_preprocessor, "forward", "preprocess"),
            TimedFunction(self.model, "extract_feat", "network"),
            TimedFunction(self.model.mask_head, "forward", "network"),
            TimedFunction(self.model.mask_head, "predict_by_feat", "decode"),
            TimedFunction(solov2_head, "mask_matrix_nms", "nms"),
            TimedFunction(solov2_head.F, "interpolate", "resize", within="decode"),
        ]

    def _on_head(self, module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        kernels, cls_logits, mask_feats = output
        # Keep copies of the lists: predict_by_feat overwrites that of the logits.
        self._computed = [*kernels], [*cls_logits], mask_feats
        replacement = self._replacement.for_size(mask_feats.shape[-2:])
        if replacement is None:
            return output
        return (
            [_like(*pair) for pair in zip(kernels, replacement[0], strict=True)],
            [_like(*pair) for pair in zip(cls_logits, replacement[1], strict=True)],
            _like(mask_feats, replacement[2]),
        )


class _ReplacementOutputs:
    """Generated outputs in the form of an implementation, cached while the size stays the same."""

    def __init__(self, convert: Callable[[SOLOv2Outputs], Any]) -> None:
        self.generated: GeneratedOutputs | None = None
        self._convert = convert
        self._last: tuple[SOLOv2Outputs, Any] | None = None

    def for_size(self, size: Sequence[int]) -> Any:
        if self.generated is None:
            return None
        outputs = self.generated.for_size(*size)
        if self._last is None or self._last[0] is not outputs:
            self._last = outputs, self._convert(outputs)
        return self._last[1]


def _like(real: Tensor, generated: Tensor) -> Tensor:
    """Repeat generated outputs of one image for the batch, in the dtype of the real ones."""
    return generated.to(real.dtype).expand_as(real)


def check_outputs(ours: SOLOv2Outputs, expected: SOLOv2Outputs, *, tolerance: float = NETWORK_TOLERANCE) -> None:
    """Assert that both networks computed the same.

    Raises:
        AssertionError: an output differs by more than `tolerance` of its largest value.
    """
    for name, mine, theirs in zip(SOLOv2Outputs._fields, ours, expected, strict=True):
        difference = float((mine.float() - theirs.float()).abs().max() / theirs.float().abs().max().clamp(min=1e-12))
        if not difference <= tolerance:
            raise AssertionError(f"{name} differs from mmdet's by {difference:.1e} of the largest value")


def check_detections(ours: Sequence[InstanceData], expected: Sequence[InstanceData]) -> None:
    """Assert equal labels, scores within 1e-5 and, of all masks' pixels, at most the share 1e-5 different.

    Args:
        ours: labels, scores and bitmaps of each image.
        expected: the same of mmdet.

    Raises:
        AssertionError: they differ.
    """
    different = pixels = 0
    for image, (mine, theirs) in enumerate(zip(ours, expected, strict=True)):
        if len(mine.labels) != len(theirs.labels):
            raise AssertionError(f"image {image}: {len(mine.labels)} detections, mmdet has {len(theirs.labels)}")
        if not torch.equal(mine.labels.cpu(), theirs.labels.cpu().long()):
            raise AssertionError(f"image {image}: labels differ from mmdet's")
        if not torch.allclose(mine.scores.cpu(), theirs.scores.cpu(), rtol=0, atol=SCORE_TOLERANCE):
            raise AssertionError(f"image {image}: scores differ from mmdet's by more than {SCORE_TOLERANCE}")
        if len(mine.labels):
            different += int((mine.masks != theirs.masks.to(mine.masks)).sum())
            pixels += mine.masks.numel()
    _check_pixels(different, pixels)


def check_encodings(ours: Sequence[Any], expected: Sequence[Any], *, exactly: bool) -> None:
    """Assert that RLEs have the same masks.

    Args:
        ours: COCO's compressed RLEs.
        expected: the same of mmdet.
        exactly: compare every character; otherwise the pixels as in `check_detections`.

    Raises:
        AssertionError: they differ.
    """
    mine, theirs = ([_plain(rle) for rle in rles] for rles in (ours, expected))
    if len(mine) != len(theirs):
        raise AssertionError(f"{len(mine)} encodings, mmdet has {len(theirs)}")
    if exactly and mine != theirs:
        raise AssertionError("RLEs differ from mmdet's")
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
        raise AssertionError(f"{different} of {pixels} mask pixels differ from mmdet's")


def _plain(rle: Any) -> Any:
    counts = rle["counts"]
    return dict(size=[*map(int, rle["size"])], counts=counts.decode("ascii") if isinstance(counts, bytes) else counts)
