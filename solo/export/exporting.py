"""Export a trained model: load, trace, write, verify, publish."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from solo.config import load_config
from solo.deployment import DeploymentOptions, deploy
from solo.deployment.deploy import to_half
from solo.errors import ExportError, OutputError
from solo.export.description import describe_export
from solo.export.files import OPENVINO_FILE, quiet, write_model
from solo.export.graph import DetectionsGraph, ExportedGraph, RawGraph
from solo.export.options import OPSETS, SUFFIXES, ExportOptions
from solo.export.quantisation import int8_quantiser
from solo.export.tracing import trace
from solo.export.verification import check, verify
from solo.inference.predictor import SOLOPredictor
from solo.inference.tta.config import single_view_pipeline
from solo.models.solov2 import SOLOv2
from solo.output_files import check_outputs, write_output
from solo.runtime.metadata import ModelMetadata
from solo.runtime.sessions import RuntimeOptions, open_session

GRAPHS: dict[str, type[ExportedGraph]] = {"detections": DetectionsGraph, "raw": RawGraph}
REPORT = "export.json"


def export_model(
    config: str | Path | Config,
    checkpoint: str | Path,
    *,
    options: ExportOptions,
    out: str | Path | None = None,
    overwrite: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """Export a checkpoint to a file that contains all that is needed to run it.

    A report with the largest differences from the model is written beside it, FILE.export.json; for OpenVINO both are
    in a folder. Nothing is written unless the file agrees with the model.

    Args:
        config: a config file, or a loaded config.
        checkpoint: the weights that a training wrote.
        options: what is exported, and how.
        out: the file, for OpenVINO the folder; by default beside the checkpoint, with its name.
        overwrite: replace files that exist.
        overrides: changes of a config file, by dotted key.

    Returns:
        The file or the folder.

    Raises:
        ExportError: the model cannot be exported so, a package is missing, or the file does not agree with the model.
        OutputError: a file exists or cannot be written.
        ConfigError, CheckpointError: as `SOLOPredictor`.
    """
    options.check_packages()
    config = config if isinstance(config, Config) else load_config(config, overrides=overrides)
    checkpoint = Path(checkpoint).expanduser()
    out = _output_path(checkpoint, options) if out is None else Path(out).expanduser()
    files = _files(out, options)
    check_outputs(files.values(), overwrite=overwrite, inputs=[checkpoint])
    predictor = SOLOPredictor(config, checkpoint, device="cpu", deployment=DeploymentOptions())
    model: Any = predictor.model
    if not isinstance(model, SOLOv2):
        raise ExportError(f"only SOLOv2, SOLO and Decoupled SOLO are exported, not a {type(model).__name__}")
    model.requires_grad_(False)
    original, graph = GRAPHS[options.contract](model).eval(), GRAPHS[options.contract](_prepare(model, options)).eval()
    metadata = describe_export(
        original,
        config=config,
        pipeline=single_view_pipeline(config),
        checkpoint=checkpoint,
        classes=predictor.classes,
        options=options,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}") from None
    try:
        # Named as asked for, since torch looks at the suffix.
        written = folder if options.format == "openvino" else folder / out.name
        _write(written, graph, metadata=metadata, options=options)
        report = _verify(written, original, metadata=metadata, options=options)
        _publish(folder, files)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_output(files[REPORT], (json.dumps(report, indent=2) + "\n").encode())
    return out


def _prepare(model: SOLOv2, options: ExportOptions) -> SOLOv2:
    """A copy with folded norms, and convolutions of the wanted precision."""
    prepared: SOLOv2 = copy.deepcopy(model)
    deploy(prepared, DeploymentOptions(fold_norms=True))
    if options.half:
        to_half(prepared, torch.float16)
    return prepared


def _write(path: Path, graph: ExportedGraph, *, metadata: ModelMetadata, options: ExportOptions) -> None:
    program = trace(graph, size=options.fixed_size, batch=options.batch)
    quantise = None
    if options.int8 and options.data is not None:
        quantise = int8_quantiser(options.data, metadata=metadata, format=options.format)
    write_model(program, path, metadata=metadata, options=options, quantise=quantise)


def _verify(path: Path, original: ExportedGraph, *, metadata: ModelMetadata, options: ExportOptions) -> dict[str, Any]:
    """The report; without verification it has no differences.

    Raises:
        ExportError: the file does not agree with the model.
    """
    written = sorted(path.iterdir()) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in written)
    report: dict[str, Any] = dict(format=options.format, contract=options.contract, precision=options.precision)
    report.update(
        bytes=size,
        opset=(options.opset or OPSETS[0]) if options.format == "onnx" else None,
        input_size=metadata.input_size,
        batch_size=metadata.batch_size,
    )
    report["verified"] = options.verify
    if options.verify:
        original.model.postprocess.mask_format = "bool"
        with quiet():
            session = open_session(path, device="cpu", options=RuntimeOptions())
        found = verify(session.run, original, metadata=metadata, data=options.data)
        check(found, metadata=metadata)
        report.update(data="drawn shapes" if options.data is None else str(options.data), differences=asdict(found))
        report["agreement"] = found.agreement
    return report


def _output_path(checkpoint: Path, options: ExportOptions) -> Path:
    parts = [checkpoint.stem, *(["raw"] if options.contract == "raw" else [])]
    parts += [options.precision] if options.precision != "float32" else []
    return checkpoint.with_name("_".join(parts) + SUFFIXES[options.format])


def _files(out: Path, options: ExportOptions) -> dict[str, Path]:
    """Where the written files go, by their names in the temporary folder, and the report.

    Raises:
        ExportError: the suffix is not that of the format.
        OutputError: the folder of OpenVINO's files is a file.
    """
    if options.format == "openvino":
        if out.suffix == ".xml" or (out.exists() and not out.is_dir()):
            raise OutputError(f"{out}: format openvino writes a folder with {OPENVINO_FILE}; give the name of a folder")
        return {name: out / name for name in (OPENVINO_FILE, OPENVINO_FILE.replace(".xml", ".bin"), REPORT)}
    if out.suffix != SUFFIXES[options.format]:
        raise ExportError(f"{out}: a file of format {options.format} ends in {SUFFIXES[options.format]}")
    return {out.name: out, REPORT: out.with_name(f"{out.name}.{REPORT}")}


def _publish(folder: Path, files: Mapping[str, Path]) -> None:
    """Move the files to their places."""
    for name, target in files.items():
        if name == REPORT:
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(target)
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror}") from None
