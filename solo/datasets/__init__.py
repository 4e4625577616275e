"""Data: COCO files, the drawn shapes, and the transforms that load and pack samples."""

from solo.datasets.coco.annotations import check_coco_file
from solo.datasets.coco.dataset import CocoInstances
from solo.datasets.coco.report import AnnotationReport
from solo.datasets.shapes.dataset import SHAPES_CLASSES, Shapes, ensure_shapes
from solo.datasets.transforms.color_distortion import RandomDistort
from solo.datasets.transforms.copy_paste import CopyPaste
from solo.datasets.transforms.load_image import LoadImage
from solo.datasets.transforms.load_instances import LoadInstances
from solo.datasets.transforms.pack_sample import PackSample
from solo.datasets.transforms.random_crop import RandomOverlapCrop
from solo.images.reading import UnreadableImageError, read_image
from solo.masks.instance_masks import InstanceMasks

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
