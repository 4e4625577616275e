"""Files of torch.export: run, and refused where torch would unpickle, evaluate or call what they hold."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from solo import SOLOPredictor
from solo.errors import ConfigError, ExportedModelError
from solo.export.graph import DetectionsGraph
from solo.export.tracing import MIN_DYNAMIC_SIZE, trace
from solo.runtime import RuntimeOptions
from solo.runtime.metadata import METADATA_KEY
from tests.helpers.exported import needs_tested_torch
from tests.helpers.model_metadata import model_metadata
from tests.helpers.tiny_model import NUM_CLASSES, build_tiny

MODEL = "models/model.json"
pytestmark = needs_tested_torch


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported tiny model of any size and batch."""
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    program = trace(DetectionsGraph(build_tiny()).eval(), size=None, batch=None)
    metadata = model_metadata(classes=tuple("abc"[:NUM_CLASSES]), min_size=MIN_DYNAMIC_SIZE)
    torch.export.save(program, path, extra_files={METADATA_KEY: metadata.to_json()})
    return path


def changed(source: Path, target: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """A copy whose entries, by their names without the folder, were changed."""
    with zipfile.ZipFile(source) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"m/{name}", content)
    return target


def with_graph(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, bytes]], None]:
    def apply(entries: dict[str, bytes]) -> None:
        graph = json.loads(entries[MODEL])
        change(graph)
        entries[MODEL] = json.dumps(graph).encode()

    return apply


def test_results_do_not_depend_on_the_batch(sound: Path) -> None:
    predictor = SOLOPredictor(sound, device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    found = predictor(list(images), batch_size=3)
    assert any(len(each) for each in found)
    for image, each in zip(images, found, strict=True):
        alone = predictor(image)
        assert each.labels.tolist() == alone.labels.tolist()
        np.testing.assert_allclose(each.scores, alone.scores, atol=1e-5)


class _Marker:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_sample_inputs_are_not_unpickled(sound: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save((((torch.zeros(1),), {}), _Marker(tmp_path / "ran")), buffer)
    path = changed(
        sound, tmp_path / "m.pt2", lambda entries: entries.update({"data/sample_inputs/model.pt": buffer.getvalue()})
    )
    assert SOLOPredictor(path, device="cpu").classes == ("a", "b", "c")
    assert not (tmp_path / "ran").exists()


def pickled_weight(entries: dict[str, bytes]) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(entries[name])
    next(iter(config["config"].values()))["use_pickle"] = True
    entries[name] = json.dumps(config).encode()


def opaque_constant(entries: dict[str, bytes]) -> None:
    name = "data/constants/model_constants_config.json"
    config = json.loads(entries[name])
    next(iter(config["config"].values()))["path_name"] = "opaque_obj_0"
    entries[name] = json.dumps(config).encode()


def first_node(graph: dict[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = graph["graph_module"]["graph"]["nodes"][0]
    return node


EVIL = "__import__('os').system('true')"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.update({"data/aotinductor/model/x.so": b"x"}), "aotinductor"),
        (lambda entries: entries.update({"data/weights/model.pt": pickle.dumps(1)}), "data/weights/model.pt"),
        (lambda entries: entries.update({"data/constants/custom_obj_0": b"x"}), "custom_obj_0"),
        (pickled_weight, "a tensor that is pickled"),
        (opaque_constant, "a tensor that is pickled"),
        (with_graph(lambda graph: graph["guards_code"].append(EVIL)), "__import__"),
        (with_graph(lambda graph: graph["guards_code"].append("L['images'].__class__")), "__class__"),
        (with_graph(lambda graph: graph["guards_code"].append("9**9**9**9 == 1")), r"9\*\*9"),
        (with_graph(lambda graph: first_node(graph).update(target="torch.os.system")), r"torch\.os\.system"),
        (with_graph(lambda graph: first_node(graph).update(target="torch.ops.aten.from_file.default")), "from_file"),
        (with_graph(lambda graph: first_node(graph).update(target="torch.ops.prim.Print.default")), "prim"),
        (with_graph(lambda graph: first_node(graph).update(target="#extension:x")), "#extension"),
        (with_graph(lambda graph: first_node(graph).update(name="x): pass\nimport os #")), "import os"),
        (with_graph(lambda graph: first_node(graph)["metadata"].update(source_fn_stack=EVIL)), "__import__"),
        (with_graph(lambda graph: first_node(graph)["inputs"].append({"as_operator": "torch.load"})), "as_operator"),
        (with_graph(lambda graph: first_node(graph)["inputs"].append({"as_string": "/etc/passwd"})), "/etc/passwd"),
        (with_graph(lambda graph: graph.update(expr={"expr_str": EVIL})), "__import__"),
        (with_graph(lambda graph: graph.update(expr={"expr_str": "Symbol('a').func"})), "func"),
        (with_graph(lambda graph: graph.update({EVIL: 1})), "__import__"),
    ],
)
def test_what_torch_would_run_is_refused(sound: Path, tmp_path: Path, change: Any, message: str) -> None:
    path = changed(sound, tmp_path / "m.pt2", change)
    with pytest.raises(ExportedModelError, match=rf"m\.pt2: refused: .*{message}") as caught:
        SOLOPredictor(path)
    assert "\n" not in str(caught.value)


def test_types_of_trees_are_those_of_containers(sound: Path, tmp_path: Path) -> None:
    spec = json.dumps([1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}])
    path = changed(sound, tmp_path / "m.pt2", with_graph(lambda graph: graph.update(in_spec=spec)))
    with pytest.raises(ExportedModelError, match="refused"):
        SOLOPredictor(path)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated(sound: Path, tmp_path: Path, kept: float) -> None:
    content = sound.read_bytes()
    (tmp_path / "m.pt2").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ExportedModelError, match=r"it is no \.pt2 archive, or it is truncated"):
        SOLOPredictor(tmp_path / "m.pt2")


def test_bytes_that_were_changed(sound: Path, tmp_path: Path) -> None:
    content = bytearray(sound.read_bytes())
    content[len(content) // 4] ^= 1
    (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(ExportedModelError, match="truncated"):
        SOLOPredictor(tmp_path / "m.pt2")


def test_missing_parts(sound: Path, tmp_path: Path) -> None:
    path = changed(sound, tmp_path / "m.pt2", lambda entries: entries.pop(f"extra/{METADATA_KEY}"))
    with pytest.raises(ExportedModelError, match="it holds no metadata of solo"):
        SOLOPredictor(path)
    path = changed(sound, tmp_path / "n.pt2", lambda entries: entries.pop(MODEL))
    with pytest.raises(ExportedModelError, match=r"it is no \.pt2 file of this version of torch, or it is damaged"):
        SOLOPredictor(path)


def test_compressed_entries_are_not_inflated(sound: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(sound) as archive, zipfile.ZipFile(tmp_path / "m.pt2", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(ExportedModelError, match="refused: the entry"):
        SOLOPredictor(tmp_path / "m.pt2")


def test_device_and_precision(sound: Path) -> None:
    with pytest.raises(ConfigError, match="device 'nonsense' is unknown or unavailable to torch"):
        SOLOPredictor(sound, device="nonsense")
    with pytest.raises(ConfigError, match="precision bfloat16 is an option of OpenVINO"):
        SOLOPredictor(sound, deployment=RuntimeOptions(precision="bfloat16"))
