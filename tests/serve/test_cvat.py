"""The function file of CVAT, through the driver of `cvat-cli task auto-annotate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("cvat_sdk", reason="needs cvat-sdk")
from cvat_sdk import models
from cvat_sdk.auto_annotation import DetectionFunctionSpec, driver
from cvat_sdk.masks import decode_mask

from solo.errors import UserError
from solo.serve import cvat
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.onnx_files import write_detections
from tests.helpers.served import RingPredictor

IMAGE = PIL.Image.new("RGB", (64, 48))


def annotate(function: Any, *, task_labels: dict[str, str], image: Any = IMAGE, **options: Any) -> list[Any]:
    """The shapes that CVAT's driver makes of an image, with its checks; label ids are those of the task."""
    labels = [
        models.Label(name=name, id=100 + i, type=kind, attributes=[], sublabels=[])
        for i, (name, kind) in enumerate(task_labels.items())
    ]
    conv = options.get("conv_mask_to_poly", False)
    mapper = driver._AnnotationMapper(
        logging.getLogger(__name__),
        function.spec.labels,
        labels,
        allow_unmatched_labels=options.get("allow_unmatched_labels", False),
        conv_mask_to_poly=conv,
    )
    context = driver._DetectionFunctionContextImpl(
        frame_name="a.png", conf_threshold=options.get("conf_threshold"), conv_mask_to_poly=conv
    )
    tags, shapes = mapper.validate_and_remap(function.detect(context, image), 3)
    assert not tags
    return list(shapes)


def test_masks_are_those_of_the_model() -> None:
    function = cvat.CVATDetector(RingPredictor())
    assert isinstance(function.spec, DetectionFunctionSpec)
    cell, dust = annotate(function, task_labels={"cell": "mask", "dust": "any"})
    assert (cell.label_id, cell.type.value, cell.frame) == (100, "mask", 3)
    masks = [decode_mask(shape.points, image_width=64, image_height=48) for shape in (cell, dust)]
    expected = RingPredictor()(np.zeros((48, 64, 3), np.uint8)).to_bool()
    np.testing.assert_array_equal(masks, expected[:2])


def test_the_threshold_of_cvat_is_kept() -> None:
    function = cvat.CVATDetector(RingPredictor(), score_thr=0.5)
    labels = {"cell": "mask", "dust": "mask"}
    assert len(annotate(function, task_labels=labels)) == 1
    assert len(annotate(function, task_labels=labels, conf_threshold=0.95)) == 0
    assert len(annotate(function, task_labels=labels, conf_threshold=0.0)) == 3


def test_labels_that_a_task_lacks_are_left_out_when_cvat_is_told_so() -> None:
    function = cvat.CVATDetector(RingPredictor())
    with pytest.raises(driver.BadFunctionError, match="dust"):
        annotate(function, task_labels={"cell": "mask"})
    assert len(annotate(function, task_labels={"cell": "mask"}, allow_unmatched_labels=True)) == 1


def test_polygons_where_cvat_asks_for_them() -> None:
    function = cvat.CVATDetector(RingPredictor())
    shapes = annotate(function, task_labels={"cell": "polygon", "dust": "polygon"}, conv_mask_to_poly=True)
    assert [(shape.label_id, shape.type.value, shape.group) for shape in shapes] == [
        (100, "polygon", 0),
        (101, "polygon", 2),
        (101, "polygon", 2),
    ]
    assert sorted(np.reshape(shapes[0].points, (-1, 2)).tolist()) == [[4, 4], [4, 24], [24, 4], [24, 24]]


def test_an_exported_file_and_channels_in_their_order(tmp_path: Path) -> None:
    """The model finds bright blue, or red, as its masks: channel order decides which."""
    pytest.importorskip("onnx", reason="needs solov2[onnx]")
    function = cvat.create(str(write_detections(tmp_path / "model.onnx")), score_thr=0.1)
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[8:40, 8:48, 0] = 255  # red, the first channel that the model sees
    shapes = annotate(
        function, task_labels={"ellipse": "mask", "star": "mask"}, image=PIL.Image.fromarray(pixels), conf_threshold=0.0
    )
    sizes = [int(decode_mask(shape.points, image_width=96, image_height=64).sum()) for shape in shapes]
    assert sizes == [pytest.approx(32 * 40, abs=8)] and shapes[0].label_id == 101


def test_a_checkpoint(tmp_path: Path) -> None:
    function = cvat.create(str(write_checkpoint(tmp_path / "a.pth")), str(write_config(tmp_path)), "cpu")
    assert [label.name for label in function.spec.labels] == ["dark", "bright"]


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    deep = cvat._to_array(PIL.Image.fromarray(np.full((4, 5), 40_000, np.uint16)))
    assert (deep.dtype, deep.max(), deep.shape) == (np.uint16, 40_000, (4, 5))


def test_a_model_that_does_not_load_is_named() -> None:
    with pytest.raises(UserError, match=r"missing\.onnx"):
        cvat.create("missing.onnx")
