"""`export_model`: files that agree with the model, their metadata, and what is refused."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from solo import SOLOPredictor
from solo.errors import ExportError, OutputError, UserError
from solo.export import ExportOptions, export_model
from solo.export import exporting as exporting_module
from solo.export.files import OPENVINO_FILE
from solo.masks.components import keep_largest_component
from solo.runtime.metadata import METADATA_KEY, ModelMetadata
from solo.runtime.sessions import RuntimeOptions, open_session
from tests.helpers.exported import export_config, write_random_checkpoint
from tests.helpers.tiny_model import NUM_CLASSES, tiny_config, tiny_solo_config

onnx = pytest.importorskip("onnx", reason="needs solov2[onnx]")
openvino = pytest.importorskip("openvino", reason="needs solov2[openvino]")

FORBIDDEN = {"NonZero", "Loop", "If", "Scan", "ScatterND", "ScatterElements", "DeformConv", "GridSample"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A config without resizing and a checkpoint."""
    config = export_config(tiny_config())
    return config, write_random_checkpoint(config, tmp_path_factory.mktemp("tiny") / "weights.pth")


def read_onnx(path: Path) -> tuple[Any, ModelMetadata]:
    """The graph and the metadata of a file."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model, ModelMetadata.from_json({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])


def test_onnx(tiny: tuple[Config, Path], tmp_path: Path) -> None:
    config, checkpoint = tiny
    path = export_model(config, checkpoint, options=ExportOptions(weights_licence="CC0"), out=tmp_path / "m.onnx")
    model, metadata = read_onnx(path)
    assert not FORBIDDEN & {node.op_type for node in model.graph.node}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    dims = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert dims[0] == ["batch", 3, "height", "width"]
    assert dims[-1] == ["batch", 100, "height/4", "width/4"]
    assert [output.name for output in model.graph.output] == ["scores", "labels", "boxes", "masks"]
    assert metadata.classes == tuple(f"class {index}" for index in range(NUM_CLASSES))
    assert (metadata.weights_licence, metadata.channel_order) == ("CC0", "RGB")
    assert (metadata.input_size, metadata.batch_size, metadata.min_size) == (None, None, 32)
    assert len(metadata.checkpoint_sha256) == 64 and "SOLOv2Head" in metadata.config
    report = json.loads((tmp_path / "m.onnx.export.json").read_text())
    assert report["verified"] and report["differences"]["score"] < 1e-4
    assert report["differences"]["detections"] > 10
    assert b"/graph.py" not in path.read_bytes()  # paths of the machine that exported it
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.export.json"]


def test_norms_are_instance_norms_and_batch_norms_are_folded(tiny: tuple[Config, Path], tmp_path: Path) -> None:
    config, checkpoint = tiny
    options = ExportOptions(contract="raw", size=(32, 64), batch=2, opset=20, verify=False)
    model, metadata = read_onnx(export_model(config, checkpoint, options=options, out=tmp_path / "m.onnx"))
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts["InstanceNormalization"] and not counts["GroupNormalization"] + counts["BatchNormalization"]
    assert (metadata.input_size, metadata.batch_size) == ((32, 64), 2)
    assert (metadata.mask_channels, metadata.kernel_size, metadata.contract) == (8, 1, "raw")
    assert (metadata.resize, metadata.resize_size) == ("fit", (32, 64))
    assert not json.loads((tmp_path / "m.onnx.export.json").read_text())["verified"]


@pytest.mark.long
@pytest.mark.parametrize("contract", ["raw", "detections"])
def test_files_drop_specks_as_the_model_does(contract: str, tmp_path: Path) -> None:
    config = export_config(tiny_config(postprocess=dict(largest_component=True)))
    checkpoint = write_random_checkpoint(config, tmp_path / "weights.pth")
    path = export_model(config, checkpoint, options=ExportOptions(contract=contract), out=tmp_path / "m.onnx")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    expected, found = (predictor(image) for predictor in (SOLOPredictor(config, checkpoint), SOLOPredictor(path)))
    assert len(found) == len(expected) > 5
    np.testing.assert_array_equal(found.labels, expected.labels)
    different = (found.to_bool() != expected.to_bool()).mean(axis=(1, 2))
    assert different.mean() < 0.01
    largest = found.to_bool()
    keep_largest_component(largest, threshold=0)
    # A bridge of one pixel at stride 4 may be cut when it is enlarged.
    assert np.median((largest != found.to_bool()).sum(axis=(1, 2))) == 0


@pytest.mark.long
def test_openvino(tiny: tuple[Config, Path], tmp_path: Path) -> None:
    config, checkpoint = tiny
    options = ExportOptions(format="openvino", contract="raw")
    folder = export_model(config, checkpoint, options=options, out=tmp_path / "m_openvino")
    model = openvino.Core().read_model(folder / OPENVINO_FILE)
    metadata = ModelMetadata.from_json(model.get_rt_info(METADATA_KEY).astype(str))
    assert metadata.contract == "raw"
    assert [output.any_name for output in model.outputs] == ["cls_logits", "kernels", "mask_feats"]
    differences = json.loads((folder / "export.json").read_text())["differences"]
    assert max(differences["outputs"].values()) < 1e-4


def test_pt2(tiny: tuple[Config, Path], tmp_path: Path) -> None:
    config, checkpoint = tiny
    path = export_model(config, checkpoint, options=ExportOptions(format="pt2"), out=tmp_path / "m.pt2")
    extra = {METADATA_KEY: ""}
    torch.export.load(path, extra_files=extra)
    assert b"/graph.py" not in b"".join(zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist())
    metadata = ModelMetadata.from_json(extra[METADATA_KEY])
    assert metadata.min_size == 96


@pytest.mark.parametrize("kind", ["solo", "decoupled", "light", "deformable"])
@pytest.mark.long
def test_other_heads(kind: str, tmp_path: Path) -> None:
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "deformable": lambda: tiny_config(head=dict(dcn=dict(type="DCNv2"), dcn_convs=(0,)))
    }
    config = export_config(parts[kind]() if kind in parts else tiny_solo_config(kind))
    checkpoint = write_random_checkpoint(config, tmp_path / "weights.pth")
    path = export_model(config, checkpoint, options=ExportOptions())
    assert path == tmp_path / "weights.onnx"
    model = read_onnx(path)[0]
    assert not FORBIDDEN & {node.op_type for node in model.graph.node}
    run = open_session(path, device="cpu", options=RuntimeOptions()).run
    for shape in ((1, 3, 32, 32), (4, 3, 64, 128)):
        outputs = run(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        assert outputs[3].shape == (shape[0], 100, shape[2] // 4, shape[3] // 4)


@pytest.mark.long
def test_half_keeps_norms_and_outputs_in_float32(tiny: tuple[Config, Path], tmp_path: Path) -> None:
    config, checkpoint = tiny
    options = ExportOptions(half=True, contract="raw")
    path = export_model(config, checkpoint, options=options, out=tmp_path / "m.onnx")
    model, metadata = read_onnx(path)
    assert metadata.precision == "float16"
    assert all(output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for output in model.graph.output)
    weights = {value.name: value.data_type for value in model.graph.initializer}
    convs = [weights.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    assert convs.count(onnx.TensorProto.FLOAT16) > len(convs) / 2
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    assert all(weights.get(node.input[1], onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT for node in norms)


@pytest.mark.long
def test_a_file_that_does_not_agree_is_removed(
    tiny: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, checkpoint = tiny

    def write_wrong(path: Path, graph: Any, **options: Any) -> None:
        graph.model.head.category_predictor.bias.data += 0.01
        write(path, graph, **options)

    write = exporting_module._write
    monkeypatch.setattr(exporting_module, "_write", write_wrong)
    for contract, message in (("raw", "cls_logits differs by 0.01, at most"), ("detections", "have no equal")):
        options = ExportOptions(format="pt2", contract=contract)
        with pytest.raises(ExportError, match=f"does not agree with the model and was removed: .*{message}"):
            export_model(config, checkpoint, options=options, out=tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(format="onxx"), r"format 'onxx' is unknown \(did you mean 'onnx'\?\); there are onnx, openvino, pt2"),
        (dict(contract="boxes"), "contract 'boxes' is unknown; there are detections, raw"),
        (dict(size=(64, 100)), r"image size 64 x 100 \(H x W\): both must be multiples of 32"),
        (dict(size=(0, 32)), "must be multiples of 32"),
        (dict(batch=0), "batch must be at least 1, got 0"),
        (dict(batch=2, dynamic=True), "a dynamic export takes any number of images"),
        (dict(half=True, int8=True, data=Path()), "half and int8 exclude each other"),
        (dict(int8=True), "int8 needs data"),
        (dict(int8=True, data=Path(), format="pt2"), "format pt2 has no int8"),
        (dict(opset=21), "opset 21 of format onnx: only format onnx has opsets, from 18 to 20"),
        (dict(opset=18, format="pt2"), "opset 18 of format pt2"),
        (dict(simplify=True, format="openvino"), "format openvino is not simplified"),
    ],
)
def test_options_that_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        ExportOptions(**values)


def test_outputs_that_are_refused(tiny: tuple[Config, Path], tmp_path: Path) -> None:
    config, checkpoint = tiny
    (tmp_path / "m.pt2").write_bytes(b"")
    cases: list[tuple[str, Path, type[UserError], str]] = [
        ("pt2", tmp_path / "m.pt2", OutputError, "exists already; choose another name, or replace the file"),
        ("pt2", tmp_path / "m.onnx", ExportError, "a file of format pt2 ends in .pt2"),
        ("openvino", tmp_path / "m.pt2", OutputError, "writes a folder with model.xml"),
        ("openvino", tmp_path / "m.xml", OutputError, "writes a folder with model.xml"),
    ]
    for format, out, error, message in cases:
        with pytest.raises(error, match=message):
            export_model(config, checkpoint, options=ExportOptions(format=format), out=out)


def test_a_missing_package_names_the_extra(tiny: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r'this export needs onnxscript: pip install "solov2\[onnx\]"'):
        export_model(*tiny, options=ExportOptions())


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (dict(type="mmdet.RandomFlip", prob=0.5), "RandomFlip"),
        (dict(type="mmdet.Resize", scale=(64, 64), interpolation="nearest"), "Resize with interpolation"),
        (dict(type="mmdet.Resize", scale_factor=2.0), "Resize with scale_factor"),
    ],
)
def test_pipelines_that_cannot_be_described(
    step: dict[str, Any], problem: str, tiny: tuple[Config, Path], tmp_path: Path
) -> None:
    config, checkpoint = export_config(tiny_config(), step), tiny[1]
    with pytest.raises(ExportError, match=f"the test pipeline has {problem}; an exported file describes LoadImage"):
        export_model(config, checkpoint, options=ExportOptions(format="pt2"), out=tmp_path / "m.pt2")
