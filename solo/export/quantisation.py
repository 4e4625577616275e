"""Post-training quantisation to int8 with NNCF."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.export.options import import_extra
from solo.export.verification import load_images, prepare_batch
from solo.runtime.metadata import INPUT_NAME, ModelMetadata

CALIBRATION_IMAGES = 300

FLOAT_MODULES = (r"model\.head\..*predictor.*", r"model\.backbone\.conv1/.*", r"model\.mask_feature\.predictor.*")
"""Convolutions that stay in float32, chosen by AP (docs/decisions.md)."""

FLOAT_OPERATIONS = {
    "onnx": ("MatMul", "Mul", "Sub", "Div", "InstanceNormalization", "Pow", "ReduceSum", "Sigmoid"),
    "openvino": ("MatMul", "Multiply", "Subtract", "Divide", "MVN", "Power", "ReduceSum", "Sigmoid"),
}
"""Norms and post-processing. Resizing between layers of int8 is left to them: it would take a conversion each way."""


def int8_quantiser(data: Path, *, metadata: ModelMetadata, format: str) -> Callable[[Any], Any]:
    """Make a function that quantises an `onnx.ModelProto` or an `openvino.Model` with images of a folder.

    Raises:
        ExportError: NNCF is missing.
        DataError: the folder has no image, or one cannot be read.
    """
    nncf = import_extra("nncf", extra="int8")
    nncf.set_log_level(logging.ERROR)

    def batches() -> Iterator[dict[str, npt.NDArray[np.uint8]]]:
        for image in load_images(data, limit=CALIBRATION_IMAGES, pixels=metadata.pixel_format):
            inputs, _ = prepare_batch([image] * (metadata.batch_size or 1), metadata)
            yield {INPUT_NAME: inputs.numpy()}

    def quantise(model: Any) -> Any:
        scope = nncf.IgnoredScope(patterns=list(FLOAT_MODULES), types=list(FLOAT_OPERATIONS[format]), validate=False)
        # Symmetric: convolutions need no correction for a zero point.
        options = dict(preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=CALIBRATION_IMAGES)
        return nncf.quantize(model, nncf.Dataset(list(batches())), ignored_scope=scope, **options)

    return quantise
