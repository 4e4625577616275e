"""Pure functions on tensors that the algorithm consists of."""

from solo.ops.deform_conv import deform_conv2d
from solo.ops.dynamic_conv import dynamic_conv
from solo.ops.dynamic_mask_loss import dynamic_mask_loss
from solo.ops.losses import boundary_loss, dice_loss, matched_mask_iou, quality_focal_loss, sigmoid_focal_loss
from solo.ops.mask_loss import MASK_LOSS_CHUNK_BYTES
from solo.ops.matrix_nms import mask_iou, matrix_nms
from solo.ops.points_nms import points_nms
from solo.ops.product_mask_loss import product_logits, product_mask_loss

__all__ = [
    "MASK_LOSS_CHUNK_BYTES",
    "boundary_loss",
    "deform_conv2d",
    "dice_loss",
    "dynamic_conv",
    "dynamic_mask_loss",
    "mask_iou",
    "matched_mask_iou",
    "matrix_nms",
    "points_nms",
    "product_logits",
    "product_mask_loss",
    "quality_focal_loss",
    "sigmoid_focal_loss",
]
