"""From a checkpoint of another code base to one of ours, and back to mmdetection's names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from solo.checkpoints.conversion import OURS, convert_from_ours, convert_to_ours, find_dialect
from solo.checkpoints.dialects import DIALECTS, Dialect
from solo.checkpoints.fitting import differences, fitting_configs, model_on_meta, shipped_configs
from solo.checkpoints.loading import check_fit, load_checkpoint
from solo.checkpoints.preprocessing import convention_problems, preprocessing_of
from solo.checkpoints.report import ConversionReport, FileFacts
from solo.checkpoints.saving import save_atomically
from solo.checkpoints.source import SourceCheckpoint, file_sha256, read_source
from solo.config.load import configured_class_names, load_config
from solo.datasets.coco_classes import COCO_CLASSES
from solo.errors import CheckpointError

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
) -> ConversionReport:
    """Convert a checkpoint of another code base for the model of a config.

    Args:
        source: the file to read.
        target: the file to write; a report with the same name and the ending `.report.json` is written beside it.
        config: config of the model that the weights are for.
        overrides: values by dotted key, as `--cfg-options` gives them.
        dialect: whose names the source has; "auto" tells it by the names.
        allow_missing: shell patterns of names that may stay unexplained or missing.
        weights_key: key of the weights in the source; None looks for the usual ones.
        trust_config: take the preprocessing and the backbone's style as the config has them.

    Returns:
        The account of every tensor.

    Raises:
        ConfigError: the config cannot be used.
        CheckpointError: the source cannot be used, or does not fit the config: the message says which one it fits.
    """
    source, target, config = Path(source).expanduser(), Path(target).expanduser(), Path(config)
    settings = load_config(config, overrides)
    _refuse_same_file(source, target)
    read = read_source(source, weights_key=weights_key)
    speech = _dialect(read, dialect)
    model = model_on_meta(settings).state_dict()
    weights, report = convert_to_ours(read.weights, model, dialect=speech, allow_missing=allow_missing)
    report.config = str(config)
    report.source = FileFacts(str(source), speech.name, read.sha256)
    report.dropped |= read.ignored
    if not report.complete:
        raise CheckpointError(_does_not_fit(read, speech, model, config, report))
    problems = convention_problems(settings, speech)
    if problems and not trust_config:
        raise CheckpointError(_other_convention(read, speech, config, problems))
    report.notes += problems
    classes = _class_names(read, settings, num_classes=settings.model["num_classes"], report=report)
    meta: dict[str, Any] = {
        "dataset_meta": {"classes": classes} if classes else {},
        "preprocessing": preprocessing_of(settings)._asdict(),
        "converted_from": {"dialect": speech.name, "file": source.name, "sha256": read.sha256},
    }
    save_atomically({"state_dict": weights, "meta": meta}, target)
    return _finish(report, target, OURS)


def export_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
) -> ConversionReport:
    """Write a checkpoint of ours with mmdetection's names.

    Args:
        source: checkpoint of the model of `config`.
        target: the file to write; the report goes beside it.
        config: config of the model.
        overrides: values by dotted key.

    Returns:
        The account of every tensor.

    Raises:
        ConfigError: the config cannot be used.
        CheckpointError: the source is no checkpoint of this model, or mmdetection has no name for a tensor.
    """
    source, target, config = Path(source).expanduser(), Path(target).expanduser(), Path(config)
    settings = load_config(config, overrides)
    _refuse_same_file(source, target)
    checkpoint = load_checkpoint(source)
    check_fit(model_on_meta(settings), checkpoint, source=f"checkpoint {source}")
    weights, report = convert_from_ours(checkpoint["state_dict"], dialect=DIALECTS[MMDET])
    report.config = str(config)
    report.source = FileFacts(str(source), OURS, file_sha256(source))
    if not report.complete:
        raise CheckpointError("\n  ".join([f"checkpoint {source} has no equal in mmdetection:", *report.problems()]))
    dataset_meta = (checkpoint.get("meta") or {}).get("dataset_meta") or {}
    save_atomically({"state_dict": weights, "meta": {"dataset_meta": dict(dataset_meta)}}, target)
    return _finish(report, target, MMDET)


def _dialect(read: SourceCheckpoint, name: str) -> Dialect:
    if name != AUTO:
        return DIALECTS[name]
    try:
        return find_dialect(list(read.weights))
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {read.path}: {error}") from None


def _does_not_fit(
    read: SourceCheckpoint, dialect: Dialect, model: Mapping[str, Tensor], config: Path, report: ConversionReport
) -> str:
    """Say what does not fit, in what weights and config differ, and which config would do."""
    facts = differences(_under_our_names(read, dialect), model)
    lines = [f"checkpoint {read.path} ({dialect.title}) does not fit {config}:", *report.problems(), *facts]
    lines.append(_advice(read, dialect, config))
    if len(facts) == 1 and facts[0].startswith("classes:"):
        lines.append(
            "for the source's classes: --cfg-options model.num_classes=N; to train the class predictor anew: "
            f"--allow-missing {CLASSES_PATTERN!r}"
        )
    return "\n  ".join(lines)


def _other_convention(read: SourceCheckpoint, dialect: Dialect, config: Path, problems: Sequence[str]) -> str:
    lines = [
        f"checkpoint {read.path}: weights of {dialect.title} need other images, or a backbone of another style, than "
        f"{config} has:",
        *problems,
        _advice(read, dialect, config),
        "if these were trained as the config has it, say --trust-config",
    ]
    return "\n  ".join(lines)


def _advice(read: SourceCheckpoint, dialect: Dialect, config: Path) -> str:
    fitting = fitting_configs(_under_our_names(read, dialect), shipped_configs(config), dialect=dialect)
    if not fitting:
        return "no config in the folders beside this one fits"
    return f"it fits {', '.join(map(_relative, fitting))}"


def _under_our_names(read: SourceCheckpoint, dialect: Dialect) -> dict[str, Tensor]:
    translated = dialect.key_map.to_ours(list(read.weights))
    return {ours: read.weights[name] for name, ours in translated.items() if ours is not None}


def _relative(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _class_names(
    read: SourceCheckpoint, config: Config, *, num_classes: int, report: ConversionReport
) -> tuple[str, ...] | None:
    """Names that the source states, else the config's, else COCO's where the number is COCO's."""
    candidates = {
        "the source's": read.classes,
        "the config's": configured_class_names(config),
        "COCO's, by their number": COCO_CLASSES,
    }
    for origin, names in candidates.items():
        if names is not None and len(names) == num_classes:
            report.notes.append(f"class names are {origin}")
            return tuple(names)
    report.notes.append(f"no names are known for the {num_classes} classes; results will number them")
    return None


def _refuse_same_file(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        raise CheckpointError(f"source and target are one file: {source}")


def _finish(report: ConversionReport, target: Path, dialect: str) -> ConversionReport:
    report.target = FileFacts(str(target), dialect, file_sha256(target))
    report.write(target.with_name(target.name + ".report.json"))
    return report
