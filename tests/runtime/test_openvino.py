"""Folders of OpenVINO models: run, and refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from solo import SOLOPredictor
from solo.errors import ConfigError, ExportedModelError
from solo.runtime import RuntimeOptions
from solo.runtime.metadata import METADATA_KEY
from solo.runtime.sessions import OpenVINOSession
from tests.helpers.model_metadata import model_metadata
from tests.helpers.onnx_files import write_detections

pytest.importorskip("onnx", reason="needs onnx")
openvino = pytest.importorskip("openvino", reason="needs openvino")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OpenVINO model of the contract."""
    folder = tmp_path_factory.mktemp("exported") / "m_openvino"
    folder.mkdir()
    model = openvino.convert_model(write_detections(folder.parent / "m.onnx"))
    model.set_rt_info(model_metadata().to_json(), [METADATA_KEY])
    openvino.save_model(model, folder / "m.xml", compress_to_fp16=False)
    return folder


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "m_openvino"))


@pytest.mark.parametrize("options", [None, RuntimeOptions(threads=1), RuntimeOptions(precision="bfloat16")])
def test_results_are_those_of_onnx_runtime(folder: Path, options: RuntimeOptions | None) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    image = np.zeros((50, 70, 3), np.uint8)
    image[8:32, 8:40, 2] = 255
    found = SOLOPredictor(folder, deployment=options)([image, image[:40]], batch_size=2)
    expected = SOLOPredictor(folder.parent / "m.onnx")([image, image[:40]], batch_size=2)
    assert [each.rles for each in found] == [each.rles for each in expected]
    assert SOLOPredictor(folder / "m.xml").device == "CPU"


@pytest.mark.parametrize("precision", [None, "float32"])
@pytest.mark.parametrize("quantised", [False, True])
def test_what_int8_files_leave_is_computed_as_openvino_chooses(
    folder: Path, tmp_path: Path, quantised: bool, precision: str | None
) -> None:
    core = openvino.Core()
    model = core.read_model(folder / "m.xml")
    model.set_rt_info(model_metadata(precision="int8" if quantised else "float32").to_json(), [METADATA_KEY])
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    session = OpenVINOSession(tmp_path / "m.xml", None, RuntimeOptions(precision=precision))
    own_choice = core.compile_model(model, "CPU").get_property("INFERENCE_PRECISION_HINT")
    expected = own_choice if quantised and precision is None else openvino.Type.f32
    assert session._compiled.get_property("INFERENCE_PRECISION_HINT") == expected


def test_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="device cuda is unavailable: OpenVINO sees cpu"):
        SOLOPredictor(folder, device="cuda")


def test_a_folder_with_other_than_one_model(copied: Path) -> None:
    shutil.copy(copied / "m.xml", copied / "n.xml")
    with pytest.raises(ExportedModelError, match=r"m_openvino: expected one \.xml file in it, found 2"):
        SOLOPredictor(copied)
    for file in copied.glob("*.xml"):
        file.unlink()
    with pytest.raises(ExportedModelError, match=r"expected one \.xml file in it, found 0"):
        SOLOPredictor(copied)


def test_weights_that_are_missing_or_truncated(copied: Path) -> None:
    weights = copied / "m.bin"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ExportedModelError, match=r"m_openvino.*: OpenVINO does not read it: ") as caught:
        SOLOPredictor(copied)
    assert "\n" not in str(caught.value)
    weights.unlink()
    with pytest.raises(ExportedModelError, match=r"m\.bin does not exist"):
        SOLOPredictor(copied)


@pytest.mark.parametrize("text", ["", "import os", "<html></html>", "<?xml version='1.0'?><!DOCTYPE a><net name='a'>"])
def test_foreign_files_are_not_given_to_openvino(copied: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    (copied / "m.xml").write_text(text)
    with pytest.raises(ExportedModelError, match="it is no model of OpenVINO"):
        SOLOPredictor(copied)
    assert capfd.readouterr().err == ""


def test_truncated_and_foreign_models(copied: Path) -> None:
    file = copied / "m.xml"
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    with pytest.raises(ExportedModelError, match="OpenVINO does not read it"):
        SOLOPredictor(copied)
    file.write_text(text.replace(f"<{METADATA_KEY} ", "<other "))
    with pytest.raises(ExportedModelError, match="it holds no metadata of solo"):
        SOLOPredictor(copied)
