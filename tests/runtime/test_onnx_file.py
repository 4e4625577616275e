"""What is read of ONNX files before a runtime opens them."""

from __future__ import annotations

import random

import pytest

from solo.errors import ExportedModelError
from solo.runtime.onnx_file import read_onnx

onnx = pytest.importorskip("onnx", reason="needs onnx")


def sound_model(*, external: bool = False, within: str = "graph") -> bytes:
    """A model with a tensor in its graph, in an attribute, in a function or in a subgraph of a node."""
    tensor = onnx.helper.make_tensor("weight", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    if external:
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    info = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    constant = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    subgraph = onnx.helper.make_graph([constant], "branch", [], [info])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=subgraph, else_branch=subgraph)
    nodes = {"attribute": [constant], "subgraph": [node]}.get(within, [])
    graph = onnx.helper.make_graph(nodes, "graph", [], [info], [tensor] if within == "graph" else [])
    functions = [onnx.helper.make_function("local", "f", [], ["y"], [constant], [])] if within == "function" else []
    model = onnx.helper.make_model(graph, functions=functions)
    onnx.helper.set_model_props(model, {"solo": '{"é": 1}', "other": ""})
    return model.SerializeToString()


PLACES = ["graph", "attribute", "subgraph", "function"]


@pytest.mark.parametrize("within", PLACES)
def test_metadata_and_tensors_within(within: str) -> None:
    found = read_onnx(sound_model(within=within))
    assert found.metadata == {"solo": '{"é": 1}', "other": ""}
    assert not found.has_external_data


@pytest.mark.parametrize("within", PLACES)
def test_values_in_other_files_are_found_wherever_they_are_named(within: str) -> None:
    assert read_onnx(sound_model(external=True, within=within)).has_external_data


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08", b"\x08\x09", b"PK\x03\x04", b"\xff" * 100, bytes(100)])
def test_foreign_files(content: bytes) -> None:
    with pytest.raises(ExportedModelError, match="it is no ONNX model"):
        read_onnx(content)


def test_damaged_files_are_read_or_refused() -> None:
    generator = random.Random(0)
    content = sound_model(within="subgraph")
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            read_onnx(bytes(damaged[: generator.randint(1, len(damaged))]))
        except ExportedModelError:
            continue


def test_graphs_that_are_nested_too_deeply() -> None:
    message = b"\x0a\x00"
    for _ in range(500):  # graph -> node -> attribute -> graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            message = tag + length(message) + message
    with pytest.raises(ExportedModelError):
        read_onnx(b"\x08\x09\x3a" + length(message) + message)


def length(message: bytes) -> bytes:
    """The size of a message as protobuf writes it."""
    value, text = len(message), bytearray()
    while value > 127:
        text.append(value & 127 | 128)
        value >>= 7
    return bytes([*text, value])
