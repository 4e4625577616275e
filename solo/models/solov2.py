"""SOLOv2 and SOLO: connects the steps, and converts samples to and from their records."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from solo.errors import ConfigError
from solo.masks.resize_taps import MASK_STRIDE
from solo.models.grid import Grid
from solo.models.preprocessor import SIZE_DIVISOR
from solo.models.tiles import predict_samples
from solo.registry import MODELS, TASK_UTILS
from solo.structures import GridTargets, GroundTruth, Outputs, SOLOv2Outputs, gt_mask_key
from solo.tiles import Tiles


@MODELS.register_module(["SOLOv2", "SOLO"])
class SOLOv2(BaseModel):
    """SOLOv2: Dynamic and Fast Instance Segmentation (arXiv 2003.10152), and its predecessors (arXiv 1912.04488).

    The head makes the difference: `SOLOv2Head` predicts kernels for the features of a mask feature branch, `SOLOHead`
    and `DecoupledSOLOHead` need no such branch. Everything else is shared. Configs of the predecessors call the class
    "SOLO".

    Args:
        num_classes: C, set here and nowhere else.
        backbone: config of a module from (B, 3, H, W) to maps at strides 4, 8, 16, 32.
        neck: config of a module from those to the feature pyramid.
        grid: arguments of `Grid`.
        mask_feature: config of the mask feature branch, whose `out_channels` is E; None for a head without kernels.
        head: config of the head.
        assigner: config of the assigner.
        criterion: config of the criterion, with its `loss_cls` and `loss_mask`.
        postprocess: config of the post-processing, with its `nms`.
        kernel_size: side k of the dynamic convolution, odd.
        data_preprocessor: config of the preprocessor.
        tiles: arguments of `solo.tiles.Tiles`: validation and testing cut images into tiles and join their objects.
            None for whole images.
        init_cfg: initial weights, in mmengine's form.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: dict[str, Any],
        neck: dict[str, Any],
        grid: dict[str, Any],
        head: dict[str, Any],
        assigner: dict[str, Any],
        criterion: dict[str, Any],
        postprocess: dict[str, Any],
        mask_feature: dict[str, Any] | None = None,
        kernel_size: int = 1,
        data_preprocessor: dict[str, Any] | None = None,
        tiles: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor and MODELS.build(data_preprocessor), init_cfg=init_cfg)
        self.num_classes = num_classes
        self.tiles = None if tiles is None else Tiles(**tiles)
        cells = Grid(**grid)
        losses = {name: MODELS.build(criterion[name]) for name in ("loss_cls", "loss_mask")}
        kernels = {} if mask_feature is None else {"kernel_channels": mask_feature["out_channels"] * kernel_size**2}
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        _check_channels(self.backbone, neck)
        self.mask_feature = None if mask_feature is None else MODELS.build(mask_feature)
        self.head = MODELS.build({**head, "grid": cells, "num_classes": num_classes, **kernels})
        self._coarse_strides = sorted(set(self.head.mask_strides) - {MASK_STRIDE})
        self.assigner = TASK_UTILS.build({**assigner, "grid": cells, "num_classes": num_classes})
        self.criterion = MODELS.build({**criterion, **losses, "num_classes": num_classes})
        self.postprocess = TASK_UTILS.build({**postprocess, "grid": cells, "nms": TASK_UTILS.build(postprocess["nms"])})

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
    ) -> Any:
        """Run the network, and compute losses or detections from its outputs.

        Args:
            inputs: (B, 3, H, W) normalised images, H and W of any size.
            data_samples: one an image. "loss" reads `gt_instances` as `PackSample` makes them: arrays (or tensors)
                labels, bboxes and centers, and `MaskWindows` masks, for SOLO also `masks_8`, ...; "predict" reads the
                metainfo `img_shape` and `ori_shape`.
            mode: "tensor" for the outputs, "loss" for the losses, "predict" for the detections.

        Returns:
            `SOLOv2Outputs`, or those of the other heads; or {"loss_cls", "loss_mask"}; or the samples with their
            `pred_instances`.

        Raises:
            ValueError: `mode` is unknown, samples or their masks at the head's strides are missing, or mask features
                are not at stride 4.
        """
        if mode not in ("tensor", "loss", "predict"):
            raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', not {mode!r}")
        outputs = self.compute_outputs(inputs)
        if mode == "tensor":
            return outputs
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data_samples, one an image; got None")
        if mode == "loss":
            return self.criterion(outputs, self.targets(inputs, data_samples))
        return self._detections(outputs, data_samples)

    def test_step(self, data: dict[str, Any]) -> list[BaseDataElement]:
        """Predict a batch of a loader: `inputs`, (3, H, W) uint8 images, and `data_samples`; by tiles if they are set.

        Raises:
            ConfigError: there are tiles, and the pipeline has resized the images.
        """
        if self.tiles is None:
            return super().test_step(data)
        return predict_samples(data, tiles=self.tiles, model=self, step=super().test_step)

    val_step = test_step

    def targets(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> GridTargets:
        """Compute the targets of a batch, from the arguments of `forward` in mode "loss"."""
        height, width = ((side + -side % SIZE_DIVISOR) // MASK_STRIDE for side in inputs.shape[-2:])
        ground_truth = [self._ground_truth(sample.gt_instances) for sample in data_samples]
        return self.assigner(ground_truth, (height, width), device=inputs.device)

    def compute_outputs(self, inputs: Tensor) -> Outputs:
        """Run the network on (B, 3, H, W) normalised images of any size; returns the head's outputs."""
        bottom, right = (-side % SIZE_DIVISOR for side in inputs.shape[-2:])
        if bottom or right:  # F.pad copies the batch even without padding
            inputs = F.pad(inputs, (0, right, 0, bottom))
        features = self.neck(self.backbone(inputs))
        if self.mask_feature is None:
            return self.head(features)
        cls_logits, kernels = self.head(features)
        mask_feats = self.mask_feature(features)
        _check_stride(mask_feats, inputs)
        return SOLOv2Outputs(cls_logits=cls_logits, kernels=kernels, mask_feats=mask_feats)

    def _ground_truth(self, objects: InstanceData) -> GroundTruth:
        missing = [stride for stride in self._coarse_strides if gt_mask_key(stride) not in objects]
        if missing:
            raise ValueError(
                f"the samples have no masks at strides {missing}, which this head is trained with: the pipeline's last "
                f"transform must be dict(type='PackSample', coarse_strides={self._coarse_strides})"
            )
        return GroundTruth(
            labels=_to_array(objects.labels),
            boxes=_to_array(objects.bboxes),
            centers=_to_array(objects.centers),
            masks=objects.masks,
            coarse_masks={stride: objects[gt_mask_key(stride)] for stride in self._coarse_strides},
        )

    def _detections(self, outputs: Outputs, data_samples: list[BaseDataElement]) -> list[BaseDataElement]:
        results = self.postprocess(
            outputs,
            image_sizes=[sample.img_shape[:2] for sample in data_samples],
            original_sizes=[sample.ori_shape[:2] for sample in data_samples],
        )
        for sample, result in zip(data_samples, results, strict=True):
            sample.pred_instances = result
        return data_samples


def _to_array(values: Any) -> Any:
    """Convert tensors on any device, which samples of other pipelines than `PackSample` have."""
    return values.numpy(force=True) if isinstance(values, Tensor) else values


def _check_channels(backbone: nn.Module, neck: dict[str, Any]) -> None:
    """Compare the neck's channels with those of a backbone that tells its own."""
    channels = getattr(backbone, "channels", None)
    if channels is not None and list(neck["in_channels"]) != list(channels):
        raise ConfigError(
            f"model.neck.in_channels: expected {list(channels)}, the channels of the backbone's maps, "
            f"got {list(neck['in_channels'])}"
        )


def _check_stride(mask_feats: Tensor, inputs: Tensor) -> None:
    """Refuse mask features at another stride: their masks would silently be resized to a wrong size."""
    expected = tuple(side // MASK_STRIDE for side in inputs.shape[-2:])
    if mask_feats.shape[-2:] != expected:
        raise ValueError(
            f"the neck's first map must be at stride {MASK_STRIDE}: for inputs {tuple(inputs.shape)} the mask features "
            f"should be {expected}, got {tuple(mask_feats.shape[-2:])}"
        )
