"""Metadata of exported files: JSON and back, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from solo.errors import DataError, ExportedModelError
from solo.runtime.metadata import MAX_JSON_BYTES, ModelMetadata
from tests.helpers.model_metadata import model_metadata


@pytest.mark.parametrize("contract", ["detections", "raw"])
def test_json_and_back(contract: str) -> None:
    metadata = model_metadata(contract=contract, classes=("a", "ß"), resize="fit", resize_size=(64, 96))
    assert ModelMetadata.from_json(metadata.to_json()) == metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(contract="boxes"), "contract must be one of detections, raw, found 'boxes'"),
        (dict(contract_version=2), "contract_version is 2, this version of solo reads 1"),
        (dict(contract_version="1" * 1000), "contract_version is '1"),
        (dict(classes=[]), "classes must be 1 to"),
        (dict(classes=[3]), "classes must be names"),
        (dict(classes="abc"), "classes must be 1 to"),
        (dict(mean=[1, 2]), "mean must be 3 numbers"),
        (dict(channels=4), "pad_value must be a list of 4"),
        (dict(channels=0), "channels must be a number from 1 to 64"),
        (dict(value_range=[5, 1]), "value_range must be \\(low, high\\)"),
        (dict(percentiles="x"), "percentiles must be \\(low, high\\)"),
        (dict(channels=1, mean=[1], std=[1], pad_value=[1]), "channel_order must be BGR for 1 channels"),
        (dict(std=[1, 2, float("nan")]), "std must be a finite number"),
        (dict(mean=[1, 2, 10**400]), "mean must be a finite number"),
        (dict(pad_value=[1, 2, 256]), "pad_value must be an integer from 0 to 255"),
        (dict(size_divisor=0), "size_divisor must be an integer from 1"),
        (dict(input_size=[33, 64]), "input_size must be multiples of 32"),
        (dict(input_size=[2**40, 64]), "input_size must be an integer from 1"),
        (dict(resize="none", resize_size=[1, 2]), "resize_size must be null"),
        (dict(batch_size=True), "batch_size must be an integer"),
        (dict(kernel_size=3), "kernel_size must be null"),
        (dict(postprocess=None), "metadata.postprocess: expected an object"),
        (dict(other=1), "'other' is unknown"),
        (dict(config=1), "config must be a text"),
    ],
)
def test_wrong_values_are_refused(changes: dict[str, Any], message: str) -> None:
    values = {**json.loads(model_metadata().to_json()), **changes}
    with pytest.raises(ExportedModelError, match=message):
        ModelMetadata.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_grids", [2**20]),
        ("strides", [8]),
        ("nms_pre", 10**9),
        ("max_detections", 0),
        ("nms_kernel", "cubic"),
        ("largest_component", 1),
    ],
)
def test_wrong_settings_are_refused(name: str, value: Any) -> None:
    values = json.loads(model_metadata().to_json())
    values["postprocess"][name] = value
    with pytest.raises(ExportedModelError, match=f"metadata: {name} must be"):
        ModelMetadata.from_json(json.dumps(values))


@pytest.mark.parametrize("name", ["classes", "postprocess", "weights_licence"])
def test_a_missing_value_is_refused(name: str) -> None:
    values = json.loads(model_metadata().to_json())
    del values[name]
    with pytest.raises(ExportedModelError, match=f"metadata: '{name}' is missing"):
        ModelMetadata.from_json(json.dumps(values))


def test_files_of_earlier_versions_keep_whole_masks() -> None:
    values = json.loads(model_metadata().to_json())
    del values["postprocess"]["largest_component"]
    assert ModelMetadata.from_json(json.dumps(values)).postprocess.largest_component is False


@pytest.mark.parametrize("text", ["", "[1", "[" * 100_000, "1" * 5000, b"\xff", "[]", "null"])
def test_text_that_is_no_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(ExportedModelError, match="metadata: "):
        ModelMetadata.from_json(text)


def test_long_text_is_refused() -> None:
    with pytest.raises(ExportedModelError, match="expected at most"):
        ModelMetadata.from_json(" " * (MAX_JSON_BYTES + 1))


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        (dict(resize="none", resize_size=None), (50, 70), (50, 70)),
        (dict(resize="edges", resize_size=(800, 1333)), (480, 640), (800, 1067)),
        (dict(resize="edges", resize_size=(800, 1333)), (640, 480), (1067, 800)),
        (dict(resize="edges", resize_size=(800, 1333)), (300, 900), (444, 1333)),
        (dict(resize="fit", resize_size=(64, 96)), (100, 100), (64, 64)),
        (dict(resize="fit", resize_size=(64, 96)), (50, 100), (48, 96)),
        (dict(resize="exact", resize_size=(64, 96)), (500, 100), (64, 96)),
    ],
)
def test_resized_size(rule: dict[str, Any], size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert model_metadata(**rule).resized_size(*size) == expected


def test_edges_are_those_of_mmcv() -> None:
    mmcv = pytest.importorskip("mmcv")
    metadata = model_metadata(resize="edges", resize_size=(448, 768))
    for height in range(1, 900, 37):
        for width in range(300, 900, 41):
            width_height = mmcv.rescale_size((width, height), (768, 448))
            assert metadata.resized_size(height, width) == width_height[::-1]


def test_an_image_that_vanishes_is_refused() -> None:
    with pytest.raises(DataError, match="5000 x 1 pixels would be 96 x 0"):
        model_metadata(resize="fit", resize_size=(64, 96)).resized_size(1, 5000)


def test_padded_size() -> None:
    assert model_metadata().padded_size([(50, 70), (40, 97)]) == (64, 128)
    assert model_metadata(min_size=64).padded_size([(5, 5)]) == (64, 64)
    fixed = model_metadata(input_size=(64, 96))
    assert fixed.padded_size([(5, 5)]) == (64, 96)
    with pytest.raises(DataError, match="70 x 65 pixels does not fit the model's input of 96 x 64"):
        fixed.padded_size([(65, 70)])


def test_it_needs_neither_torch_nor_mmengine() -> None:
    code = "import sys, solo.runtime.metadata; print({'torch', 'mmengine', 'mmcv', 'mmdet'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_files_from_before_channels_and_scaling_are_read() -> None:
    values = json.loads(model_metadata().to_json())
    for name in ("channels", "value_range", "percentiles"):
        del values[name]
    assert ModelMetadata.from_json(json.dumps(values)) == model_metadata()
