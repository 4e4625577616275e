"""Data: COCO files, the drawn shapes, and the transforms that load and pack samples."""

from solo.datasets.annotations import AnnotationReport, check_coco_file
from solo.datasets.coco import CocoInstances
from solo.datasets.color_distortion import RandomDistort
from solo.datasets.copy_paste import CopyPaste
from solo.datasets.instance_masks import InstanceMasks
from solo.datasets.instances import LoadInstances
from solo.datasets.loading import LoadImage, UnreadableImageError, read_image
from solo.datasets.packing import PackSample
from solo.datasets.random_crop import RandomOverlapCrop
from solo.datasets.shapes import SHAPES_CLASSES, Shapes, ensure_shapes

__all__ = [
    "SHAPES_CLASSES",
    "AnnotationReport",
    "CocoInstances",
    "CopyPaste",
    "InstanceMasks",
    "LoadImage",
    "LoadInstances",
    "PackSample",
    "RandomDistort",
    "RandomOverlapCrop",
    "Shapes",
    "UnreadableImageError",
    "check_coco_file",
    "ensure_shapes",
    "read_image",
]
