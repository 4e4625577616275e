"""Int8: convolutions are quantised, what has to stay in float32 stays so, and nothing is reported to anyone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from solo.export import ExportOptions, export_model
from solo.export.files import OPENVINO_FILE
from solo.export.options import import_extra
from solo.export.verification import load_images
from tests.helpers.exported import export_config, write_random_checkpoint
from tests.helpers.tiny_model import tiny_config

if importlib.util.find_spec("nncf") is None:  # not imported: the exporter sets up how that is done
    pytest.skip("needs solov2[int8]", allow_module_level=True)
onnx = pytest.importorskip("onnx")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three drawn images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(load_images(None, limit=3)):
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def is_quantised(weight: Any) -> bool:
    """Whether an input of an OpenVINO operation is made by quantisation."""
    return weight.get_node().get_type_name() in ("FakeQuantize", "Multiply", "Subtract")


@pytest.mark.long
def test_openvino(images: Path, tmp_path: Path) -> None:
    config = export_config(tiny_config())
    checkpoint = write_random_checkpoint(config, tmp_path / "weights.pth")
    options = ExportOptions(format="openvino", int8=True, data=images, verify=False)
    folder = export_model(config, checkpoint, options=options)
    assert folder == tmp_path / "weights_int8_openvino"
    model = import_extra("openvino", extra="openvino").Core().read_model(folder / OPENVINO_FILE)
    convs = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Convolution"}
    quantised = {name for name, op in convs.items() if is_quantised(op.input_value(0))}
    assert len(quantised) > len(convs) / 2
    assert not [name for name in quantised if "head." in name and "predictor" in name]
    products = [op for op in model.get_ops() if op.get_type_name() == "MatMul"]
    assert products and not [op for op in products if is_quantised(op.input_value(0))]


@pytest.mark.long
def test_onnx(images: Path, tmp_path: Path) -> None:
    config = export_config(tiny_config())
    checkpoint = write_random_checkpoint(config, tmp_path / "weights.pth")
    options = ExportOptions(int8=True, data=images, verify=False, batch=2, size=(64, 64))
    model = onnx.load(export_model(config, checkpoint, options=options))
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    quantised = [node for node in convs if makers.get(node.input[0]) == "DequantizeLinear"]
    assert len(quantised) > len(convs) / 2
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    assert norms and not [node for node in norms if makers.get(node.input[0]) == "DequantizeLinear"]


def test_nothing_is_reported_to_anyone() -> None:
    code = (
        "from solo.export.options import import_extra\n"
        "for name in ('openvino', 'nncf'): import_extra(name, extra='int8')\n"
        "import sys, nncf.telemetry\n"
        "print(sys.modules['openvino_telemetry'], type(nncf.telemetry.telemetry).__name__ == 'NNCFTelemetry')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout == "None False\n", done.stderr
