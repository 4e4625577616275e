"""Annotate CVAT tasks with a model: the function file of `cvat-cli task auto-annotate` and of its agents.

It needs cvat-cli, and `solov2[onnx]` or another runtime of the model:

    cvat-cli task auto-annotate 137 --function-module solo.serve.cvat -p model=str:model.onnx

Masks are CVAT masks, without loss; where CVAT asks for polygons, parts are polygons of one group, without holes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import numpy.typing as npt
from cvat_sdk.masks import encode_mask

from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.masks.rle import decode_windows

if TYPE_CHECKING:
    import PIL.Image


def create(model: str, config: str | None = None, device: str | None = None, score_thr: float = 0.3) -> CVATDetector:
    """Open a model; CVAT calls this with the words of `-p NAME=TYPE:VALUE`.

    Args:
        model: exported file, or checkpoint.
        config: config of a checkpoint: a file, or the name of one.
        device: cpu or cuda; the GPU if there is one by default.
        score_thr: lowest score kept where CVAT states none.

    Raises:
        UserError: the model does not load.
    """
    predictor = SOLOPredictor(model, device=device) if config is None else SOLOPredictor(config, model, device)
    return CVATDetector(predictor, score_thr=score_thr)


class CVATDetector:
    """A detection function of CVAT.

    Attributes:
        spec: the labels, with the indices of the classes as ids.
    """

    def __init__(self, predictor: Any, *, score_thr: float = 0.3) -> None:
        """Wrap a predictor."""
        self._predictor, self._score_thr = predictor, score_thr
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[cvataa.label_spec(name, index, type="mask") for index, name in enumerate(predictor.classes)]
        )

    def detect(self, context: Any, image: PIL.Image.Image) -> list[Any]:
        """The objects of a frame, as requests of CVAT's API."""
        found: Instances = self._predictor(_to_array(image))
        threshold = self._score_thr if context.conf_threshold is None else context.conf_threshold
        kept = found[found.scores >= threshold]
        return _polygons(kept) if context.conv_mask_to_poly else _masks(kept)


def _to_array(image: PIL.Image.Image) -> npt.NDArray[Any]:
    """(H, W, 3) BGR of 8 bits, or (H, W) of 16."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])


def _masks(instances: Instances) -> list[Any]:
    windows = decode_windows(instances.rles, size=instances.image_size)
    shapes = []
    for label, (left, pixels) in zip(instances.labels.tolist(), windows, strict=True):
        if not pixels.any():
            continue
        *runs, x1, y1, x2, y2 = encode_mask(pixels)
        shapes.append(cvataa.mask(label, [*runs, x1 + left, y1, x2 + left, y2]))
    return shapes


def _polygons(instances: Instances) -> list[Any]:
    shapes = []
    for number, (label, rings) in enumerate(zip(instances.labels.tolist(), instances.polygons(), strict=True), start=1):
        outer = [ring.points.astype(float).ravel().tolist() for ring in rings if not ring.is_hole]
        group = number if len(outer) > 1 else 0
        shapes += [cvataa.polygon(label, points, group=group) for points in outer]
    return shapes
