"""Write a traced graph as a file of each format, with its metadata inside."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from solo.export.options import OPSETS, ExportOptions, import_extra
from solo.runtime.metadata import INPUT_NAME, METADATA_KEY, ModelMetadata

OPENVINO_FILE = "model.xml"
"""Name of the model in the folder of an OpenVINO export; its weights are in model.bin."""


def write_model(
    program: ExportedProgram,
    path: Path,
    *,
    metadata: ModelMetadata,
    options: ExportOptions,
    quantise: Callable[[Any], Any] | None = None,
) -> None:
    """Write a program.

    Args:
        program: as `solo.export.tracing.trace` returns it.
        path: the file; for format openvino the folder, which exists.
        metadata: what is stored with it.
        options: of the export.
        quantise: converts the `onnx.ModelProto` or the `openvino.Model` to int8.
    """
    if options.format == "pt2":
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
        with quiet():
            torch.export.save(program, path, extra_files={METADATA_KEY: metadata.to_json()})
        return
    model = _to_onnx(program, metadata=metadata, options=options)
    if options.format == "onnx":
        write_onnx(quantise(model) if quantise else model, path, metadata=metadata)
        return
    openvino = import_extra("openvino", extra="openvino")
    model = openvino.Core().read_model(model.SerializeToString())
    write_openvino(quantise(model) if quantise else model, path, metadata=metadata)


def write_onnx(model: Any, path: Path, *, metadata: ModelMetadata) -> None:
    """Write an `onnx.ModelProto`."""
    onnx = import_extra("onnx", extra="onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    model.producer_name, model.producer_version = "solo", metadata.solo_version
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_openvino(model: Any, folder: Path, *, metadata: ModelMetadata) -> None:
    """Write an `openvino.Model`."""
    openvino = import_extra("openvino", extra="openvino")
    model.set_rt_info(metadata.to_json(), [METADATA_KEY])
    # Weights in float16 stay so; all others, such as those of norms, stay in float32.
    openvino.save_model(model, folder / OPENVINO_FILE, compress_to_fp16=False)


def _to_onnx(program: ExportedProgram, *, metadata: ModelMetadata, options: ExportOptions) -> Any:
    """Convert to an `onnx.ModelProto` with named inputs, outputs and dimensions."""
    import_extra("onnxscript", extra="onnx")
    with quiet():
        converted = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=options.opset or OPSETS[0],
            input_names=[INPUT_NAME],
            output_names=list(metadata.output_names),
            verbose=False,
        )
    assert converted is not None
    model: Any = converted.model_proto
    if options.simplify:
        model = import_extra("onnxslim", extra="onnx").slim(model)
    _name_dimensions(model)
    _name_nodes(model)
    return model


def _name_dimensions(model: Any) -> None:
    """Replace names of the tracing, such as "32*s30", by `batch`, `height`, `height/4`."""
    batch, _, height, width = (dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim)
    names = {batch: "batch", height: "height", width: "width"}
    for output in model.graph.output:
        dims = output.type.tensor_type.shape.dim
        if len(dims) == 4 and height:
            names.update({dims[2].dim_param: "height/4", dims[3].dim_param: "width/4"})
    names.pop("", None)
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
    # Other names in the graph would keep the old ones, for which no tool has a use.
    del model.graph.value_info[:]


def _name_nodes(model: Any) -> None:
    """Name convolutions after their modules, and drop records of the tracing, such as paths of this machine."""
    calls: Counter[str] = Counter()
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        if node.op_type == "Conv":
            module = node.input[1].removesuffix(".weight")
            node.name = f"{module}/{calls[module]}"  # a module may be called for each level
            calls[module] += 1


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence remarks of torch's exporters about torch's own modules."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
