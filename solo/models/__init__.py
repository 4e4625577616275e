"""The model, one step a file; `solov2.py` wires them."""

from solo.models.assigner import GridAssigner
from solo.models.backbones import EfficientNetLite0, MobileNetV3, TimmBackbone
from solo.models.criterion import DiceLoss, FocalLoss, QualityFocalLoss, SOLOv2Criterion
from solo.models.grid import Grid
from solo.models.mask_feature import MaskFeatureBranch
from solo.models.postprocess import MatrixNMS, SOLOv2PostProcessor
from solo.models.preprocessor import ImagePreprocessor
from solo.models.solo_head import DecoupledSOLOHead, SOLOHead
from solo.models.solov2 import SOLOv2
from solo.models.solov2_head import SOLOv2Head

__all__ = [
    "DecoupledSOLOHead",
    "DiceLoss",
    "EfficientNetLite0",
    "FocalLoss",
    "Grid",
    "GridAssigner",
    "ImagePreprocessor",
    "MaskFeatureBranch",
    "MatrixNMS",
    "MobileNetV3",
    "QualityFocalLoss",
    "SOLOHead",
    "SOLOv2",
    "SOLOv2Criterion",
    "SOLOv2Head",
    "SOLOv2PostProcessor",
    "TimmBackbone",
]
