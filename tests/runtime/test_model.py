"""ExportedModel on small ONNX files: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solo import SOLOPredictor
from solo.errors import ConfigError, DataError, ExportedModelError, UserError
from solo.runtime import ExportedModel, RuntimeOptions
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.model_metadata import model_metadata
from tests.helpers.onnx_files import write_detections

onnx = pytest.importorskip("onnx", reason="needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")


def bright(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A BGR image whose channels R, G, B hold one bright rectangle each, as far as there are any."""
    image = np.zeros((*size, 3), np.uint8)
    for channel, (x1, y1, x2, y2) in zip((2, 1, 0), boxes, strict=False):
        image[y1:y2, x1:x2, channel] = 255
    return image


def test_masks_become_instances_of_the_original_image(tmp_path: Path) -> None:
    model = ExportedModel(write_detections(tmp_path / "m.onnx"))
    image = bright((8, 8, 40, 32), (48, 16, 72, 48))
    found = model.predict([image])[0]
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.classes == ("ellipse", "star")
    different = found.to_bool().any(axis=0) != image.any(axis=2)
    assert different.sum() <= 8  # the corners of two rectangles, which interpolation rounds
    np.testing.assert_array_equal(found.boxes, [[8, 8, 40, 32], [48, 16, 72, 48]])


@pytest.mark.parametrize(("largest_component", "right"), [(False, 72), (True, 40)])
def test_specks_are_dropped_if_the_file_says_so(tmp_path: Path, largest_component: bool, right: int) -> None:
    metadata = model_metadata()
    settings = dataclasses.replace(metadata.postprocess, largest_component=largest_component)
    model = ExportedModel(
        write_detections(tmp_path / "m.onnx", metadata=dataclasses.replace(metadata, postprocess=settings))
    )
    image = bright((8, 8, 40, 32))
    image[16:24, 64:72, 2] = 255
    found = model.predict([image])[0]
    assert found.boxes[found.labels == 1].tolist() == [[8, 8, right, 32]]


def test_channel_order(tmp_path: Path) -> None:
    found = [
        ExportedModel(write_detections(tmp_path / "m.onnx", metadata=model_metadata(channel_order=order))).predict(
            [bright((8, 8, 40, 32))]
        )[0]
        for order in ("RGB", "BGR")
    ]
    assert [int(instances.areas[0]) for instances in found] == [32 * 24 - 4, 0]  # the first mask is that of channel 0


def test_files_arrays_and_batches_agree(tmp_path: Path) -> None:
    predictor = SOLOPredictor(write_detections(tmp_path / "m.onnx"))
    images = [bright((8, 8, 40, 32), size=(64 + 3 * index, 96 - index)) for index in range(3)]
    cv2.imwrite(str(tmp_path / "a.png"), images[1])
    results = predictor([images[0], str(tmp_path / "a.png"), images[2]], batch_size=2)
    for image, found in zip(images, results, strict=True):
        assert found.image_size == image.shape[:2]
        assert found.rles == predictor(image).rles
    assert predictor([]) == []
    gray = predictor(images[0][..., 2])
    assert gray.areas[0] == 32 * 24 - 4


def test_images_are_resized_as_the_metadata_say(tmp_path: Path) -> None:
    metadata = model_metadata(resize="fit", resize_size=(64, 96), input_size=(64, 96), batch_size=2)
    predictor = SOLOPredictor(write_detections(tmp_path / "m.onnx", metadata=metadata, size=(64, 96)))
    found = predictor(cv2.resize(bright((8, 8, 40, 32)), (192, 128), interpolation=cv2.INTER_NEAREST))
    assert found.image_size == (128, 192)
    np.testing.assert_allclose(found.boxes[0], [16, 16, 80, 64], atol=2)


def test_missing_images_of_a_fixed_batch_are_padding(tmp_path: Path) -> None:
    metadata = model_metadata(batch_size=4)
    predictor = SOLOPredictor(write_detections(tmp_path / "m.onnx", metadata=metadata))
    images = [bright((8, 8, 40, 32))] * 5
    assert [found.rles for found in predictor(images, batch_size=5)] == [predictor(images[0]).rles] * 5


# ------------------------------------------------------------------------------------------------------- refused inputs
def test_an_image_that_does_not_fit(tmp_path: Path) -> None:
    metadata = model_metadata(input_size=(64, 96))
    model = ExportedModel(write_detections(tmp_path / "m.onnx", metadata=metadata))
    with pytest.raises(DataError, match="an image of 97 x 64 pixels does not fit the model's input of 96 x 64"):
        model.predict([np.zeros((64, 97, 3), np.uint8)])


def test_a_graph_of_another_size_than_its_metadata(tmp_path: Path) -> None:
    model = ExportedModel(write_detections(tmp_path / "m.onnx", size=(32, 32)))
    with pytest.raises(ExportedModelError, match=r"ONNX Runtime cannot run it on images of shape \(1, 3, 64, 96\)"):
        model.predict([np.zeros((64, 96, 3), np.uint8)])


@pytest.mark.parametrize("image", ["nowhere.png", np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_image(tmp_path: Path, image: Any) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png|image given as an array"):
        ExportedModel(write_detections(tmp_path / "m.onnx")).predict([image])


def test_a_batch_of_too_many_pixels_is_not_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ExportedModel(write_detections(tmp_path / "m.onnx"))
    monkeypatch.setattr("solo.runtime.model.MAX_PIXELS", 64 * 96)
    assert len(model.predict([np.zeros((64, 96, 3), np.uint8)])) == 1
    with pytest.raises(DataError, match="12288 pixels would enter the network at once, expected at most 6144"):
        model.predict([np.zeros((64, 96, 3), np.uint8)] * 2)


# -------------------------------------------------------------------------------------------------------- refused files
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (32768, 32768)}, r"metadata: input_size 32768 x 32768, .* is more than 134217728 pixels"),
        ({"resize": "fit", "resize_size": (32768, 32768)}, "metadata: resize_size 32768 x 32768"),
        ({"input_size": (1024, 1024), "batch_size": 4000}, "for batches of 4000"),
    ],
)
def test_sizes_that_no_image_needs(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_detections(tmp_path / "m.onnx", metadata=model_metadata(**changes))
    with pytest.raises(ExportedModelError, match=message):
        ExportedModel(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": ""}, r"m\.onnx: it holds no metadata of solo; export the checkpoint"),
        ({"metadata": "{"}, r"m\.onnx: metadata: not JSON"),
        ({"metadata": '{"contract_version": 7}'}, "contract_version is 7, this version of solo reads 1"),
        ({"metadata": model_metadata(contract="raw")}, "the outputs cls_logits, kernels, mask_feats of contract raw"),
        ({"output_name": "mask"}, "the outputs scores, labels, boxes, masks of contract detections"),
        ({"input_type": 1}, r"expected the input images \(uint8, four axes\)"),
    ],
)
def test_files_that_are_not_of_the_contract(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_detections(tmp_path / "m.onnx", **changes)
    with pytest.raises(ExportedModelError, match=message) as caught:
        ExportedModel(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": (5, 0, -1)}, "label 5 is none of its 2 classes"),
        ({"masks_type": 1}, "output masks is float32"),
    ],
)
def test_outputs_that_are_not_of_the_contract(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    model = ExportedModel(write_detections(tmp_path / "m.onnx", **changes))
    with pytest.raises(ExportedModelError, match=message):
        model.predict([bright((8, 8, 40, 32))])


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, kept: float) -> None:
    path = write_detections(tmp_path / "m.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ExportedModelError, match=r"m\.onnx: it is no ONNX model"):
        ExportedModel(path)


def test_damaged_files_end_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generator = random.Random(0)
    content = write_detections(tmp_path / "m.onnx").read_bytes()
    image = bright((8, 8, 40, 32))
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        (tmp_path / "m.onnx").write_bytes(damaged)
        try:
            ExportedModel(tmp_path / "m.onnx").predict([image])
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 0 < refused < 200
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_the_runtime_refuses(tmp_path: Path) -> None:
    path = write_detections(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(ExportedModelError, match=r"ONNX Runtime does not open it: .*NoSuchOperator") as caught:
        ExportedModel(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["initializer", "attribute"])
@pytest.mark.parametrize("location", ["weights.bin", "../secret.bin", "/etc/passwd"])
def test_values_in_other_files_are_not_read(tmp_path: Path, place: str, location: str) -> None:
    path = write_detections(tmp_path / "m.onnx")
    model = onnx.load(path)
    if place == "initializer":
        tensor = model.graph.initializer[0]
    else:
        model.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=model.graph.initializer[0]))
        tensor = model.graph.node[-1].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportedModelError, match="a tensor's values are in another file, which is not read"):
        ExportedModel(path)


@pytest.mark.parametrize("name", ["m.onnx", "m.pt2", "m.xml", "m_openvino"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportedModelError, match=rf"{name[:-1]}.*(does not exist|expected)"):
        SOLOPredictor(tmp_path / name)


# ------------------------------------------------------------------------------------------------- devices and options
@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "cuda", "cpu:1"])
def test_device_that_is_not_there(tmp_path: Path, device: str) -> None:
    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ConfigError, match=f"device '?{device}'? is un"):
        SOLOPredictor(write_detections(tmp_path / "m.onnx"), device=device)


def test_options(tmp_path: Path) -> None:
    path = write_detections(tmp_path / "m.onnx")
    image = bright((8, 8, 40, 32))
    found = SOLOPredictor(path, deployment=RuntimeOptions(threads=1))(image)
    assert found.rles == SOLOPredictor(path)(image).rles
    with pytest.raises(ConfigError, match="threads must be an integer of at least 1, got 0"):
        RuntimeOptions(threads=0)
    with pytest.raises(ConfigError, match="precision must be one of float32, bfloat16, got 'half'"):
        RuntimeOptions(precision="half")
    with pytest.raises(ConfigError, match="precision bfloat16 is an option of OpenVINO"):
        SOLOPredictor(path, deployment=RuntimeOptions(precision="bfloat16"))


def test_options_of_checkpoints_and_of_exported_files_are_told_apart(tmp_path: Path) -> None:
    from solo.deployment import DeploymentOptions

    path = write_detections(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=r"an exported file is run with solo\.runtime\.RuntimeOptions"):
        SOLOPredictor(path, deployment=DeploymentOptions())
    with pytest.raises(ConfigError, match="test-time augmentation needs a config and a checkpoint"):
        SOLOPredictor(path, tta=True)
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=r"a checkpoint is run with solo\.deployment\.DeploymentOptions"):
        SOLOPredictor(config, checkpoint, deployment=RuntimeOptions())
    with pytest.raises(ConfigError, match="expected a checkpoint with this config, an exported file, or one of"):
        SOLOPredictor(config)
    assert SOLOPredictor(config, path).classes == ("ellipse", "star")


def test_a_missing_runtime_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_detections(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportedModelError, match=r'onnxruntime is not installed: pip install "solov2\[onnx\]"'):
        SOLOPredictor(path)
    (tmp_path / "m.xml").write_text("<?xml version='1.0'?><net name='a'></net>")
    (tmp_path / "m.bin").touch()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExportedModelError, match=r'openvino is not installed: pip install "solov2\[openvino\]"'):
        SOLOPredictor(tmp_path / "m.xml")


BLOCKED = ("torch", "mmengine", "mmcv", "mmdet", "pycocotools", "hotcoco", "matplotlib", "scipy", "yapf")


def test_nothing_of_the_training_is_imported(tmp_path: Path) -> None:
    """In a process in which these packages cannot be imported, arrays and files are predicted, drawn and written."""
    model, image = write_detections(tmp_path / "m.onnx"), tmp_path / "a.png"
    cv2.imwrite(str(image), bright((8, 8, 40, 32), (48, 16, 72, 48)))
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
from solo import SOLOPredictor
found = SOLOPredictor({str(model)!r})({str(image)!r})
assert len(found) == 2 and found.to_bool().sum() == 1528 and len(found.polygons()) == 2
import runpy
sys.argv = ["runtime", {str(model)!r}, {str(image)!r}, "--out-dir", {str(tmp_path / "out")!r}]
runpy.run_module("solo.runtime", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "predictions.json"]


def test_a_checkpoint_without_torch_is_refused_in_one_line(tmp_path: Path) -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
from solo import SOLOPredictor
from solo.errors import ConfigError
try:
    SOLOPredictor("config.py", "weights.pth")
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "weights.pth: a checkpoint needs torch (pip install solov2)" in done.stdout, done.stderr
