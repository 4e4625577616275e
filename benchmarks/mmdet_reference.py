"""mmdetection's SOLOv2 for a config of ours: the detector with our weights, its pipeline, its targets and its metric.

Functions import mmdet when they are called, so that measurements without it do not need it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.state_dict import convert_from_ours
from solo.errors import ConfigError
from solo.models.preprocessor import SIZE_DIVISOR
from solo.structures import GridTargets

AP_NAMES = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
_TRANSFORMS: dict[str, dict[str, Any]] = {
    "LoadImage": dict(type="mmdet.LoadImageFromFile"),
    "LoadInstances": dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    "PackSample": dict(type="mmdet.PackDetInputs"),
}
OUR_TRANSFORMS = {theirs["type"].removeprefix("mmdet."): ours for ours, theirs in _TRANSFORMS.items()}
"""Names of mmdet's transforms to the names of ours."""


def our_names(detector: BaseModel) -> dict[str, str]:
    """Map the parameter names of mmdet's detector to ours."""
    names = DIALECTS["mmdet"].to_ours([name for name, _ in detector.named_parameters()])
    return {name: str(ours) for name, ours in names.items()}


def build_mmdet(model: Mapping[str, Any], weights: Mapping[str, Tensor]) -> BaseModel:
    """Build mmdet's detector for the `model` of a config, with our weights.

    Raises:
        ConfigError: mmdet's head does not support what the config describes.
    """
    import mmdet.models  # noqa: F401  (registers)
    from mmdet.registry import MODELS

    _use_torch_focal_loss()
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(ConfigDict(mmdet_config(model)))
    detector.load_state_dict(convert_from_ours(weights, dialect=DIALECTS["mmdet"])[0])
    return detector


def _use_torch_focal_loss() -> None:
    """Without a compiled mmcv, let mmdet take on a GPU the focal loss in torch that it takes on a CPU."""
    from mmdet.models.losses import focal_loss

    if not list(importlib.metadata.Distribution.discover(name="mmcv-lite")):
        return

    def sigmoid_focal_loss(pred: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        one_hot = F.one_hot(target, num_classes=pred.size(1) + 1)[:, : pred.size(1)]
        return focal_loss.py_sigmoid_focal_loss(pred, one_hot, *args, **kwargs)

    focal_loss.sigmoid_focal_loss = sigmoid_focal_loss


def mmdet_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """mmdet's detector dict for the `model` of a config.

    Raises:
        ConfigError: mmdet's head does not support what the config describes.
    """
    head, features, grid = model["head"], model["mask_feature"], model["grid"]
    map_strides = tuple(head.get("feature_strides", (4, 8, 16, 32, 64)))
    # Whatever `strides` says, it halves the first map and resizes the last to the one before.
    if tuple(grid["strides"]) != (2 * map_strides[0], *map_strides[1:-1], map_strides[-2]):
        raise ConfigError(
            f"model.grid.strides {list(grid['strides'])}: mmdet's head always halves the first and doubles the last map"
        )
    if head.get("dcn") or features.get("dcn"):
        raise ConfigError("model.head.dcn: deformable convolutions need a compiled mmcv on mmdet's side")
    preprocessor = {key: model["data_preprocessor"][key] for key in ("mean", "std", "bgr_to_rgb")}
    return dict(
        type="SOLOv2",
        data_preprocessor=dict(
            type="DetDataPreprocessor", pad_mask=True, pad_size_divisor=SIZE_DIVISOR, **preprocessor
        ),
        backbone={**model["backbone"], "init_cfg": None},
        neck=dict(model["neck"]),
        mask_head=_mask_head(model),
        test_cfg=_test_config(model["postprocess"]),
    )


def _test_config(postprocess: Mapping[str, Any]) -> dict[str, Any]:
    defaults = dict(score_thr=0.1, mask_thr=0.5, nms_pre=500, filter_thr=0.05, max_per_img=100)
    nms = postprocess["nms"]
    return dict(
        **{key: postprocess.get(key, value) for key, value in defaults.items()},
        kernel=nms.get("kernel", "gaussian"),
        sigma=nms.get("sigma", 2.0),
    )


def _mask_head(model: Mapping[str, Any]) -> dict[str, Any]:
    head, features, grid = model["head"], model["mask_feature"], model["grid"]
    focal, dice = model["criterion"]["loss_cls"], model["criterion"]["loss_mask"]
    return dict(
        type="SOLOV2Head",
        num_classes=model["num_classes"],
        in_channels=head["in_channels"],
        feat_channels=head["feat_channels"],
        stacked_convs=head["num_convs"],
        strides=list(grid["strides"]),
        scale_ranges=[tuple(scales) for scales in grid["scale_ranges"]],
        num_grids=list(grid["num_grids"]),
        pos_scale=model["assigner"].get("pos_scale", 0.2),
        cls_down_index=0,
        dynamic_conv_size=model.get("kernel_size", 1),
        norm_cfg=dict(type="GN", num_groups=head.get("num_groups", 32), requires_grad=True),
        mask_feature_head=dict(
            feat_channels=features.get("feat_channels", 128),
            start_level=0,
            end_level=features.get("num_levels", 4) - 1,
            out_channels=features["out_channels"],
            mask_stride=4,
            norm_cfg=dict(type="GN", num_groups=features.get("num_groups", 32), requires_grad=True),
        ),
        loss_mask=dict(type="DiceLoss", use_sigmoid=True, loss_weight=dice.get("loss_weight", 3.0)),
        loss_cls=dict(
            type="FocalLoss",
            use_sigmoid=True,
            gamma=focal.get("gamma", 2.0),
            alpha=focal.get("alpha", 0.25),
            loss_weight=focal.get("loss_weight", 1.0),
        ),
    )


def check_losses(model: Mapping[str, Any]) -> None:
    """Refuse losses of the `model` of a config that mmdet does not have.

    Raises:
        ConfigError: the score loss is no focal loss, or the mask loss learns boundaries.
    """
    scores, masks = model["criterion"]["loss_cls"], model["criterion"]["loss_mask"]
    if scores["type"] != "FocalLoss":
        raise ConfigError(f"model.criterion.loss_cls.type {scores['type']}: mmdet trains with FocalLoss alone")
    if masks.get("boundary_weight"):
        raise ConfigError(
            f"model.criterion.loss_mask.boundary_weight {masks['boundary_weight']}: mmdet has no boundary loss; "
            "compare with --cfg-options model.criterion.loss_mask.boundary_weight=0"
        )


def mmdet_pipeline(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Replace our loading and packing by mmdet's; all other transforms are mmdet's and mmcv's already."""
    return [{**_TRANSFORMS.get(step["type"].removeprefix("solo."), step)} for step in pipeline]


def mmdet_validation_pipeline(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`mmdet_pipeline` with annotations: mmdet's configs load them for validation, though the masks are never read."""
    *steps, packing = mmdet_pipeline(pipeline)
    return [*steps, _TRANSFORMS["LoadInstances"], packing]


def mmdet_targets(detector: Any, samples: Sequence[Any], mask_size: tuple[int, int]) -> list[Any]:
    """mmdet's targets for each image of a batch: masks, labels, flags and cell indices, by level."""
    targets: list[Any] = [
        detector.mask_head._get_targets_single(sample.gt_instances, featmap_sizes=mask_size) for sample in samples
    ]
    return targets


def given_targets(detector: Any, targets: Sequence[Any]) -> Any:
    """Context in which the detector's loss uses these targets instead of computing them."""
    return mock.patch.object(detector.mask_head, "_get_targets_single", side_effect=list(targets))


def check_targets(ours: GridTargets, reference: Sequence[Any], level_sizes: Sequence[int]) -> None:
    """Assert that the labels of all cells and the masks of all positive cells are bit-equal."""
    first_cells = torch.tensor((0, *level_sizes[:-1])).cumsum(dim=0).tolist()
    for image, (masks, labels, _, indexes) in enumerate(reference):
        if not torch.equal(ours.labels[image], torch.cat([level.flatten() for level in labels])):
            raise AssertionError(f"labels of image {image} differ from mmdet's")
        mine = ours.image_idx == image
        found = zip(ours.cell_idx[mine].tolist(), ours.masks[ours.object_idx[mine]], strict=True)
        expected = [
            (first + int(cell), mask.bool())
            for first, cells, level in zip(first_cells, indexes, masks, strict=True)
            for cell, mask in zip(cells, level, strict=True)
        ]
        if _sorted(found) != _sorted(expected):
            raise AssertionError(f"masks of image {image} differ from mmdet's")


def _sorted(positives: Any) -> list[tuple[int, bytes]]:
    return sorted((cell, mask.cpu().numpy().tobytes()) for cell, mask in positives)


class MMDetMetric:
    """mmdet's `CocoMetric` without its printing, with access to the numbers that it rounds.

    Args:
        ann_file: COCO annotation file.
        classes: class names, by label.
        name: "segm" or "bbox".
    """

    def __init__(self, *, ann_file: str, classes: Sequence[str], name: str) -> None:
        from mmdet.evaluation.metrics import CocoMetric

        self._name = name
        with contextlib.redirect_stdout(io.StringIO()):
            self._metric = CocoMetric(ann_file=ann_file, metric=name)
        self._metric.dataset_meta = dict(classes=tuple(classes))
        self._evaluators: list[Any] = []

    def process(self, samples: Sequence[Any]) -> None:
        """Add the results of a batch: samples or dicts with img_id, ori_shape and pred_instances."""
        self._metric.process({}, [_as_dict(sample) for sample in samples])

    def evaluate(self, size: int) -> dict[str, float]:
        """AP over `size` images under our keys, rounded by mmdet to three digits."""
        from mmdet.evaluation.metrics import coco_metric

        evaluators = self._evaluators = []

        class Recorded(coco_metric.COCOeval):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                evaluators.append(self)

        with mock.patch.object(coco_metric, "COCOeval", Recorded), contextlib.redirect_stdout(io.StringIO()):
            metrics: dict[str, float] = dict(self._metric.evaluate(size))
        return metrics

    def exact(self) -> dict[str, float]:
        """The numbers of the last `evaluate`, not rounded."""
        (evaluator,) = self._evaluators
        values = zip(AP_NAMES, evaluator.stats[: len(AP_NAMES)].tolist(), strict=True)
        return {f"coco/{self._name}_{key}": value for key, value in values}


def _as_dict(sample: Any) -> dict[str, Any]:
    found: dict[str, Any] = sample if isinstance(sample, dict) else sample.to_dict()
    return found
