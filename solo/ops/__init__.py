"""The algorithm's pure functions on tensors: torch only."""

from solo.ops.dynamic_conv import dynamic_conv
from solo.ops.losses import dice_loss, sigmoid_focal_loss
from solo.ops.mask_loss import MASK_LOSS_CHUNK_BYTES, dynamic_mask_loss
from solo.ops.masks import boxes_from_masks, downsample_masks, maskness, mass_centers, resize_masks
from solo.ops.matrix_nms import mask_iou, matrix_nms
from solo.ops.points_nms import points_nms

__all__ = [
    "MASK_LOSS_CHUNK_BYTES",
    "boxes_from_masks",
    "dice_loss",
    "downsample_masks",
    "dynamic_conv",
    "dynamic_mask_loss",
    "mask_iou",
    "maskness",
    "mass_centers",
    "matrix_nms",
    "points_nms",
    "resize_masks",
    "sigmoid_focal_loss",
]
