"""mmdet's SOLOv2 as a peer: the detector, the weights and the pipeline that a config of ours stands for there.

mmdet is imported by the functions, so that measurements without it need no mmdet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor

from solo.checkpoints.conversion import convert_from_ours
from solo.checkpoints.dialects import DIALECTS
from solo.errors import ConfigError
from solo.models.preprocessor import SIZE_DIVISOR
from solo.structures import GridTargets

_TRANSFORMS: dict[str, dict[str, Any]] = {
    "LoadImage": dict(type="mmdet.LoadImageFromFile"),
    "LoadInstances": dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    "PackSample": dict(type="mmdet.PackDetInputs"),
}
OUR_TRANSFORMS = {peer["type"].removeprefix("mmdet."): ours for ours, peer in _TRANSFORMS.items()}
"""Our transform in place of mmdet's."""


def our_names(detector: BaseModel) -> dict[str, str]:
    """Our name of each parameter of mmdet's detector."""
    names = DIALECTS["mmdet"].key_map.to_ours([name for name, _ in detector.named_parameters()])
    return {name: str(ours) for name, ours in names.items()}


def build_mmdet(model: Mapping[str, Any], weights: Mapping[str, Tensor]) -> BaseModel:
    """mmdet's detector for the `model` of a config, with the weights of ours.

    Raises:
        ConfigError: mmdet's head cannot be what the config describes.
    """
    import mmdet.models  # noqa: F401  (registers)
    from mmdet.registry import MODELS

    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(ConfigDict(mmdet_config(model)))
    detector.load_state_dict(convert_from_ours(weights, dialect=DIALECTS["mmdet"])[0])
    return detector


def mmdet_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """mmdet's detector dict for the `model` of a config.

    Raises:
        ConfigError: mmdet's head cannot be what the config describes.
    """
    head, features, grid = model["head"], model["mask_feature"], model["grid"]
    map_strides = tuple(head.get("feature_strides", (4, 8, 16, 32, 64)))
    # It halves the first map and enlarges the last to the one before, whatever `strides` says.
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


def mmdet_pipeline(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A pipeline of ours with mmdet's own loading and packing; what stands between is mmdet's and mmcv's already."""
    return [{**_TRANSFORMS.get(step["type"].removeprefix("solo."), step)} for step in pipeline]


def mmdet_validation_pipeline(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`mmdet_pipeline` with the annotations: mmdet's configs load them to validate, though nobody reads the masks."""
    *steps, packing = mmdet_pipeline(pipeline)
    return [*steps, _TRANSFORMS["LoadInstances"], packing]


def mmdet_targets(detector: Any, samples: Sequence[Any], mask_size: tuple[int, int]) -> list[Any]:
    """What mmdet's head works out for each image of a batch: masks, labels, flags and cell indices, by level."""
    targets: list[Any] = [
        detector.mask_head._get_targets_single(sample.gt_instances, featmap_sizes=mask_size) for sample in samples
    ]
    return targets


def given_targets(detector: Any, targets: Sequence[Any]) -> Any:
    """Context in which the detector's next loss takes these targets and works out none."""
    return mock.patch.object(detector.mask_head, "_get_targets_single", side_effect=list(targets))


def check_targets(ours: GridTargets, peer: Sequence[Any], level_sizes: Sequence[int]) -> None:
    """Assert that the labels of all cells, and the masks of all positive cells, are the same bit for bit."""
    first_cells = torch.tensor((0, *level_sizes[:-1])).cumsum(dim=0).tolist()
    for image, (masks, labels, _, indexes) in enumerate(peer):
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
