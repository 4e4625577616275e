"""Small ONNX files that keep, or break, the contract of exported models. They need the package onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from solo.runtime.metadata import METADATA_KEY, ModelMetadata
from tests.helpers.model_metadata import model_metadata

DETECTIONS = 3


def write_detections(
    path: Path, *, metadata: ModelMetadata | str | None = None, labels: tuple[int, ...] = (1, 0, -1), **changes: Any
) -> Path:
    """A file of contract "detections" for any input: three rows, the masks those pixels whose channel is bright.

    Mask i is 255 where channel i of the input is above 127 at the first pixel of a 4 x 4 block.

    Args:
        path: the file.
        metadata: an entry of the file, or its text; by default that of a nano model.
        labels: of the three rows.
        changes: replacements of graph parts: `input_type`, `masks_type`, `output_name`.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds = dict(input_type=TensorProto.UINT8, masks_type=TensorProto.UINT8, output_name="masks", size=None) | changes
    height, width = kinds["size"] or ("height", "width")
    constants = {
        "axes": np.arange(4),
        "stride": np.array([1, 1, 4, 4], np.int64),
        "starts": np.array([0, 0, 0, 0], np.int64),
        "ends": np.array([2**31 - 1] * 4, np.int64),
        "threshold": np.array(127, np.uint8),
        "full": np.array(255, np.uint8),
        "empty": np.array(0, np.uint8),
        "one_label": np.array([labels], np.int64),
        "one_score": np.array([[0.9, 0.8, 0.7]], np.float32),
        "one_box": np.zeros((1, DETECTIONS, 4), np.float32),
        "ones": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.UINT8),
        helper.make_node("Slice", ["pixels", "starts", "ends", "axes", "stride"], ["coarse"]),
        helper.make_node("Greater", ["coarse", "threshold"], ["is_bright"]),
        helper.make_node("Where", ["is_bright", "full", "empty"], ["bright"]),
        helper.make_node("Cast", ["bright"], [kinds["output_name"]], to=kinds["masks_type"]),
        helper.make_node("Shape", ["pixels"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "ones"], ["repeats_2"], axis=0),
        helper.make_node("Concat", ["batch", "ones", "ones"], ["repeats_3"], axis=0),
        helper.make_node("Tile", ["one_label", "repeats_2"], ["labels"]),
        helper.make_node("Tile", ["one_score", "repeats_2"], ["scores"]),
        helper.make_node("Tile", ["one_box", "repeats_3"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detections",
        [helper.make_tensor_value_info("images", kinds["input_type"], ["batch_size", 3, height, width])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch_size", DETECTIONS]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch_size", DETECTIONS]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch_size", DETECTIONS, 4]),
            helper.make_tensor_value_info(
                kinds["output_name"], kinds["masks_type"], ["batch_size", DETECTIONS, "h", "w"]
            ),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata != "":
        entry = model_metadata() if metadata is None else metadata
        text = entry if isinstance(entry, str) else entry.to_json()
        helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, path)
    return path
