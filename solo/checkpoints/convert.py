"""Convert checkpoint files of other code bases to `solo`, and files of `solo` to the names of mmdetection."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS, Dialect
from solo.checkpoints.fitting import (
    compare_conventions,
    differences,
    fitting_configs,
    model_on_meta,
    read_preprocessing,
    shipped_configs,
)
from solo.checkpoints.hub import local_checkpoint
from solo.checkpoints.loading import check_finite, check_fit, load_checkpoint
from solo.checkpoints.saving import save_atomically
from solo.checkpoints.source import SourceCheckpoint, file_sha256, read_source
from solo.checkpoints.state_dict import (
    OURS,
    ConversionReport,
    FileFacts,
    convert_from_ours,
    convert_to_ours,
    find_dialect,
)
from solo.config.load import config_files, configured_class_names, load_config
from solo.config.names import find_config
from solo.datasets.coco_classes import COCO_CLASSES
from solo.errors import CheckpointError
from solo.output_files import check_outputs

AUTO = "auto"
MMDET = "mmdet"
CLASSES_PATTERN = "head.category_predictor.*"


def import_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    dialect: str = AUTO,
    allow_missing: Sequence[str] = (),
    weights_key: str | None = None,
    trust_config: bool = False,
    overwrite: bool = False,
) -> ConversionReport:
    """Convert a checkpoint of another code base for the model of a config.

    Args:
        source: the file to read, or `hf://ORG/REPO/FILE`.
        target: the file to write; the report is written to `TARGET.report.json`.
        config: config of the model to fill.
        overrides: config values by dotted key, as in `--cfg-options`.
        dialect: naming scheme of the source; "auto" detects it.
        allow_missing: shell patterns of names that may be unexplained or missing.
        weights_key: dotted key of the weights in the source; None tries the usual ones.
        trust_config: accept the normalisation and the backbone style of the config.
        overwrite: replace the target and its report if they exist.

    Returns:
        The report on every tensor.

    Raises:
        ConfigError: the config cannot be used.
        CheckpointError: the source cannot be used, its weights are NaN or infinite, or it does not fit the config: the
            message names the configs that it fits.
        OutputError: the target or its report is the source or the config, or exists and `overwrite` is False.
    """
    source, target, config = _local_path(source), Path(target).expanduser(), find_config(config)
    settings = load_config(config, overrides)
    check_outputs([target, _report_path(target)], overwrite=overwrite, inputs=[source, *config_files(config)])
    read = read_source(source, weights_key=weights_key)
    file = f"checkpoint {source}"
    naming = find_dialect(list(read.weights), source=file) if dialect == AUTO else DIALECTS[dialect]
    model = model_on_meta(settings).state_dict()
    weights, report = convert_to_ours(read.weights, model, dialect=naming, allow_missing=allow_missing)
    report.dropped |= read.ignored
    if not report.complete:
        raise CheckpointError(_describe_misfit(read, naming, model, config, report))
    check_finite(weights, source=file)
    problems = compare_conventions(settings, naming)
    if problems and not trust_config:
        conflict = f"{naming.title} normalises images otherwise, or has another backbone style, than {config}"
        lines = [f"{file}: {conflict}:", *problems, _advice(_our_names(read, naming), naming, config)]
        lines.append("if this model was trained with the settings of the config, use --trust-config")
        raise CheckpointError("\n  ".join(lines))
    report.notes += problems
    classes = _class_names(read, settings, num_classes=settings.model["num_classes"], report=report)
    meta = {
        "dataset_meta": {"classes": classes} if classes else {},
        "preprocessing": read_preprocessing(settings)._asdict(),
        "converted_from": {"dialect": naming.name, "file": source.name, "sha256": read.sha256},
    }
    save_atomically({"state_dict": weights, "meta": meta}, target)
    return _finish(report, config, FileFacts(str(source), naming.name, read.sha256), target, OURS)


def export_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ConversionReport:
    """Write a checkpoint of `solo` with the names of mmdetection; `config` is the config of its model.

    The other arguments, the files and the report are those of `import_checkpoint`.

    Raises:
        ConfigError, OutputError: as `import_checkpoint`.
        CheckpointError: the source does not fit the model, or mmdetection has no name for a tensor.
    """
    source, target, config = _local_path(source), Path(target).expanduser(), find_config(config)
    settings = load_config(config, overrides)
    check_outputs([target, _report_path(target)], overwrite=overwrite, inputs=[source, *config_files(config)])
    checkpoint = load_checkpoint(source)
    check_fit(model_on_meta(settings), checkpoint, source=f"checkpoint {source}")
    weights, report = convert_from_ours(checkpoint["state_dict"], dialect=DIALECTS[MMDET])
    if not report.complete:
        raise CheckpointError("\n  ".join([f"checkpoint {source}: no such names in mmdetection:", *report.problems()]))
    dataset_meta = checkpoint["meta"].get("dataset_meta") or {}
    save_atomically({"state_dict": weights, "meta": {"dataset_meta": dict(dataset_meta)}}, target)
    return _finish(report, config, FileFacts(str(source), OURS, file_sha256(source)), target, MMDET)


def _describe_misfit(
    read: SourceCheckpoint, dialect: Dialect, model: Mapping[str, Tensor], config: Path, report: ConversionReport
) -> str:
    """List what does not fit, the differences between weights and config, and the configs that fit."""
    weights = _our_names(read, dialect)
    facts = differences(weights, model)
    lines = [f"checkpoint {read.path} ({dialect.title}) does not fit {config}:", *report.problems(), *facts]
    lines.append(_advice(weights, dialect, config))
    if len(facts) == 1 and facts[0].startswith("classes:"):
        lines.append(
            "to keep the classes of the source: --cfg-options model.num_classes=N; to train a new class predictor: "
            f"--allow-missing {CLASSES_PATTERN!r}"
        )
    return "\n  ".join(lines)


def _advice(weights: Mapping[str, Tensor], dialect: Dialect, config: Path) -> str:
    fitting = fitting_configs(weights, shipped_configs(config), dialect=dialect)
    names = [os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path) for path in fitting]
    return f"it fits {', '.join(names)}" if names else "no config of the folder `configs` fits"


def _our_names(read: SourceCheckpoint, dialect: Dialect) -> dict[str, Tensor]:
    translated = dialect.to_ours(list(read.weights))
    return {ours: read.weights[name] for name, ours in translated.items() if ours is not None}


def _class_names(
    read: SourceCheckpoint, config: Config, *, num_classes: int, report: ConversionReport
) -> tuple[str, ...] | None:
    """Class names of the source, else of the config, else of COCO if there are as many."""
    candidates = {
        "those of the source": read.classes,
        "those of the config": configured_class_names(config),
        "those of COCO, by their number": COCO_CLASSES,
    }
    for origin, names in candidates.items():
        if names is not None and len(names) == num_classes:
            report.notes.append(f"class names are {origin}")
            return tuple(names)
    report.notes.append(f"the names of the {num_classes} classes are unknown; results have numbers")
    return None


def _local_path(source: str | os.PathLike[str]) -> Path:
    return Path(local_checkpoint(source)).expanduser()


def _report_path(target: Path) -> Path:
    return target.with_name(target.name + ".report.json")


def _finish(report: ConversionReport, config: Path, source: FileFacts, target: Path, dialect: str) -> ConversionReport:
    """Complete the report and write it beside the target."""
    report.config, report.source = str(config), source
    report.target = FileFacts(str(target), dialect, file_sha256(target))
    report.write(_report_path(target))
    return report
