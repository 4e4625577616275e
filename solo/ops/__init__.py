"""The algorithm's pure functions on tensors: torch only."""

from solo.ops.deform_conv import deform_conv2d
from solo.ops.dynamic_conv import dynamic_conv
from solo.ops.losses import dice_loss, sigmoid_focal_loss
from solo.ops.mask_bits import boxes_from_bits, pack_bits, resize_to_bits, unpack_bits
from solo.ops.mask_loss import MASK_LOSS_CHUNK_BYTES, dynamic_mask_loss
from solo.ops.mask_windows import MaskWindows, pack_masks, unpack_masks
from solo.ops.masks import binarise_masks, boxes_from_masks, downsample_masks, mass_centers
from solo.ops.matrix_nms import mask_iou, matrix_nms
from solo.ops.points_nms import points_nms
from solo.ops.product_mask_loss import product_logits, product_mask_loss
from solo.ops.resize import resize_masks
from solo.ops.rle import RLE, encode_bitmaps, encode_resized

__all__ = [
    "MASK_LOSS_CHUNK_BYTES",
    "RLE",
    "MaskWindows",
    "binarise_masks",
    "boxes_from_bits",
    "boxes_from_masks",
    "deform_conv2d",
    "dice_loss",
    "downsample_masks",
    "dynamic_conv",
    "dynamic_mask_loss",
    "encode_bitmaps",
    "encode_resized",
    "mask_iou",
    "mass_centers",
    "matrix_nms",
    "pack_bits",
    "pack_masks",
    "points_nms",
    "product_logits",
    "product_mask_loss",
    "resize_masks",
    "resize_to_bits",
    "sigmoid_focal_loss",
    "unpack_bits",
    "unpack_masks",
]
