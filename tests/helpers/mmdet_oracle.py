"""mmdet's SOLOv2 and SOLO as an oracle: the same small model on both sides, with the same weights."""

from __future__ import annotations

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from solo.checkpoints.dialects import DIALECTS
from solo.models import SOLOv2
from solo.registry import MODELS


def our_state_dict(mmdet_state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """mmdet's state dict under our names."""
    names = DIALECTS["mmdet"].to_ours(list(mmdet_state_dict))
    return {str(names[name]): tensor for name, tensor in mmdet_state_dict.items()}


def model_options(
    *,
    depth: int = 18,
    base_channels: int = 8,
    channels: int = 32,
    feat_channels: int = 32,
    num_convs: int = 2,
    mask_channels: int = 32,
    out_channels: int = 32,
    num_classes: int = 5,
    num_grids: tuple[int, ...] = (40, 36, 24, 16, 12),
    strides: tuple[int, ...] = (8, 8, 16, 32, 32),
    scale_ranges: tuple[tuple[int, int], ...] = ((1, 56), (28, 112), (56, 224), (112, 448), (224, 896)),
    frozen_stages: int = -1,
) -> dict:
    """What both models are built from; the defaults are a SOLOv2-light of an eighth of the width."""
    return dict(locals())


def _backbone(options: dict) -> dict:
    return dict(
        type="mmdet.ResNet",
        depth=options["depth"],
        base_channels=options["base_channels"],
        frozen_stages=options["frozen_stages"],
        norm_eval=True,
    )


def _neck(options: dict) -> dict:
    widest = options["base_channels"] * (4 if options["depth"] >= 50 else 1)
    return dict(
        type="mmdet.FPN",
        in_channels=[widest * 2**stage for stage in range(4)],
        out_channels=options["channels"],
        num_outs=5,
    )


def build_ours(options: dict, *, mask_loss_norm: str = "cells", **postprocess: object) -> SOLOv2:
    """Our SOLOv2 with those options."""
    return MODELS.build(
        dict(
            type="SOLOv2",
            num_classes=options["num_classes"],
            backbone=_backbone(options),
            neck=_neck(options),
            grid={name: options[name] for name in ("num_grids", "strides", "scale_ranges")},
            mask_feature=dict(
                type="MaskFeatureBranch",
                in_channels=options["channels"],
                feat_channels=options["mask_channels"],
                out_channels=options["out_channels"],
            ),
            head=dict(
                type="SOLOv2Head",
                in_channels=options["channels"],
                feat_channels=options["feat_channels"],
                num_convs=options["num_convs"],
            ),
            assigner=dict(type="GridAssigner"),
            criterion=dict(
                type="SOLOv2Criterion",
                loss_cls=dict(type="FocalLoss"),
                loss_mask=dict(type="DiceLoss"),
                mask_loss_norm=mask_loss_norm,
            ),
            postprocess=dict(type="SOLOv2PostProcessor", nms=dict(type="MatrixNMS"), **postprocess),
        )
    )


HEADS: dict[str, tuple[str, dict]] = {
    "solo": ("SOLOHead", dict(type="SOLOHead")),
    "decoupled": ("DecoupledSOLOHead", dict(type="DecoupledSOLOHead")),
    "light": ("DecoupledSOLOLightHead", dict(type="DecoupledSOLOHead", shared_mask_tower=True)),
}
"""mmdet's heads without dynamic kernels, and ours."""


def build_our_solo(kind: str, options: dict) -> SOLOv2:
    """Our SOLO or Decoupled SOLO with those options, of which those of the mask feature branch do not count."""
    head = dict(in_channels=options["channels"], feat_channels=options["feat_channels"], num_convs=options["num_convs"])
    return MODELS.build(
        dict(
            type="SOLO",
            num_classes=options["num_classes"],
            backbone=_backbone(options),
            neck=_neck(options),
            grid={name: options[name] for name in ("num_grids", "strides", "scale_ranges")},
            head={**HEADS[kind][1], **head},
            assigner=dict(type="GridAssigner", shared_cell_masks="owner"),
            criterion=dict(type="SOLOv2Criterion", loss_cls=dict(type="FocalLoss"), loss_mask=dict(type="DiceLoss")),
            postprocess=dict(type="SOLOv2PostProcessor", nms=dict(type="MatrixNMS")),
        )
    )


class MMDetSOLOv2(nn.Module):
    """mmdet's backbone, neck and SOLOV2Head, or another of `HEADS`, under the names that its detector gives them."""

    def __init__(self, options: dict, *, kind: str = "solov2", **test_cfg: object) -> None:
        super().__init__()
        import mmdet.models  # noqa: F401  (registers)
        from mmdet.registry import MODELS as MMDET_MODELS

        settings = dict(
            nms_pre=500, score_thr=0.1, mask_thr=0.5, filter_thr=0.05, kernel="gaussian", sigma=2.0, max_per_img=100
        )
        # An mmengine ConfigDict, since the head reads the settings as attributes.
        from mmengine.config import ConfigDict

        mask_feature_head = dict(
            feat_channels=options["mask_channels"],
            start_level=0,
            end_level=3,
            out_channels=options["out_channels"],
            mask_stride=4,
            norm_cfg=dict(type="GN", num_groups=32, requires_grad=True),
        )
        # Their dice loss takes what the decoupled heads multiply as probabilities.
        activate = kind not in ("decoupled", "light")
        with DefaultScope.overwrite_default_scope("mmdet"):
            self.backbone = MMDET_MODELS.build(_backbone(options))
            self.neck = MMDET_MODELS.build(_neck(options))
            self.mask_head = MMDET_MODELS.build(
                dict(
                    type="SOLOV2Head" if kind == "solov2" else HEADS[kind][0],
                    num_classes=options["num_classes"],
                    in_channels=options["channels"],
                    feat_channels=options["feat_channels"],
                    stacked_convs=options["num_convs"],
                    strides=list(options["strides"]),
                    scale_ranges=options["scale_ranges"],
                    pos_scale=0.2,
                    num_grids=list(options["num_grids"]),
                    cls_down_index=0,
                    **(dict(mask_feature_head=mask_feature_head) if kind == "solov2" else {}),
                    loss_mask=dict(type="DiceLoss", use_sigmoid=True, activate=activate, loss_weight=3.0),
                    loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
                    test_cfg=ConfigDict({**settings, **test_cfg}),
                )
            )

    def forward(self, inputs: Tensor) -> tuple[list[Tensor] | Tensor, ...]:
        """(B, 3, H, W) to what the head gives: SOLOV2Head kernels and class logits by level, and mask features."""
        return self.mask_head(self.neck(self.backbone(inputs)))


@torch.no_grad()
def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights with which activations keep their scale, so that outputs are far from constant."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=(2.0 / parameter[0].numel()) ** 0.5, generator=generator)
        else:
            offset = 1.0 if name.endswith("weight") else 0.0
            parameter.normal_(std=0.1, generator=generator).add_(offset)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("running_mean"):
            buffer.normal_(std=0.1, generator=generator)
