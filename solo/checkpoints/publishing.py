"""Publish a trained model as a folder: the weights alone, the config, and a card with what was measured."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config
from torch import Tensor

from solo import __version__
from solo.checkpoints.fitting import check_preprocessing, model_on_meta, read_preprocessing
from solo.checkpoints.hub import local_checkpoint
from solo.checkpoints.loading import SAFETENSORS_META, check_fit, load_checkpoint
from solo.checkpoints.published import CONFIG
from solo.checkpoints.saving import save_atomically
from solo.checkpoints.source import file_sha256
from solo.config.load import config_files, load_config
from solo.config.names import find_config
from solo.config.overrides import start_from_random_weights
from solo.errors import CheckpointError, DataError, missing_file_message, printable
from solo.output_files import check_outputs, write_output

CARD = "README.md"
REPORT_FORMAT = "solo evaluation report"
Format = Literal["safetensors", "pth"]


def publish(
    checkpoint: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    format: Format = "safetensors",
    half: bool = False,
    report: str | os.PathLike[str] | None = None,
    licence: str = "",
    overwrite: bool = False,
) -> list[Path]:
    """Write `weights.safetensors` (or `.pth`), `config.py` and `README.md` into a folder.

    The weights are those that the checkpoint is tested with (the average, where one was trained), without the state of
    the training. The config is whole and loads nothing else; folders of the training are left out of it.

    Args:
        checkpoint: of a training or a conversion.
        folder: where; it is made.
        config: config of the model.
        overrides: config values by dotted key.
        format: of the weights.
        half: store them in float16, in half the bytes; loading makes them float32 again.
        report: `report.json` of `solo test --report`, for the card.
        licence: of the weights, for the card.
        overwrite: replace files that exist.

    Returns:
        The files: weights, config, card.

    Raises:
        CheckpointError: the weights do not fit the model of the config, or not float16, or the checkpoint names no
            classes.
        DataError: the report is none.
        OutputError: a file exists, or cannot be written.
    """
    checkpoint, config, folder = local_checkpoint(checkpoint), find_config(config), Path(folder)
    files = [folder / f"weights.{format}", folder / CONFIG, folder / CARD]
    read = [checkpoint, *config_files(config), *([] if report is None else [report])]
    check_outputs(files, overwrite=overwrite, inputs=read)
    settings = load_config(config, overrides)
    loaded, source = load_checkpoint(checkpoint), f"checkpoint {checkpoint}"
    check_fit(model_on_meta(settings), loaded, source=source)
    check_preprocessing(loaded, settings, source=source)
    classes = [str(name) for name in (loaded["meta"].get("dataset_meta") or {}).get("classes") or ()]
    if len(classes) != settings.model.num_classes:
        raise CheckpointError(f"{source}: it names {len(classes)} classes, the model has {settings.model.num_classes}")
    measured = None if report is None else _read_report(report)
    meta = {
        "dataset_meta": {"classes": classes},
        "preprocessing": read_preprocessing(settings)._asdict(),
        "published_from": {"sha256": file_sha256(checkpoint), "solo": __version__},
    }
    weights = {name: value.detach().clone().contiguous() for name, value in loaded["state_dict"].items()}
    _write_weights(files[0], _in_half(weights, source=source) if half else weights, meta, format=format)
    write_output(files[1], _portable(settings).pretty_text.encode())
    card = model_card(files[0].name, settings, classes=classes, weights=weights, measured=measured, licence=licence)
    write_output(files[2], card.encode("utf-8", "backslashreplace"))
    return files


def model_card(
    file: str,
    settings: Config,
    *,
    classes: list[str],
    weights: Mapping[str, Tensor],
    measured: Mapping[str, Any] | None,
    licence: str,
) -> str:
    """The text of the card: what the model is, what was measured, how to run it."""
    parameters = sum(value.numel() for value in weights.values() if value.is_floating_point())
    front = ["---", "library_name: solov2", "pipeline_tag: image-segmentation", "tags: [instance-segmentation, solov2]"]
    front += [f"license: {json.dumps(licence)}"] if licence else []
    lines = [*front, "---", "", "# Instance segmentation with SOLOv2", ""]
    lines += [f"{parameters / 1e6:.1f} million parameters, {len(classes)} classes: {_text(', '.join(classes))}.", ""]
    lines += [
        "## Use",
        "",
        "```bash",
        "pip install solov2",
        f"solo predict photo.jpg --config {CONFIG} --checkpoint {file}  # or --model with the folder",
    ]
    lines += ["```", "", "## Measured", "", *_measured_lines(measured), ""]
    lines += ["## Licence", "", f"Weights: {_text(licence) or 'not stated'}.", ""]
    return "\n".join(lines)


def _measured_lines(measured: Mapping[str, Any] | None) -> list[str]:
    if measured is None:
        return ["Nothing was measured when these files were written."]
    overall = measured["overall"]
    lines = [f"Mask AP on {measured['images']} images with {overall['objects']} objects:", ""]
    lines += ["| | AP | AP 50 | AP 75 | best score threshold | F1 there |", "|---|---|---|---|---|---|"]
    shown = [overall, *(measured["classes"] if len(measured["classes"]) > 1 else [])]
    for one in shown:
        values = (one["ap"], one["ap_50"], one["ap_75"], one["best_threshold"], one["f1"])
        cells = " | ".join("-" if value is None or value < 0 else f"{value:.3f}" for value in values)
        lines.append(f"| {_text(one['name'])} | {cells} |")
    merged, split = measured["merged"]["number"], measured["split"]["number"]
    return [
        *lines,
        "",
        f"At the best threshold {merged} masks hold several objects, {split} objects have several masks.",
    ]


def _text(words: str) -> str:
    """Text that Markdown shows as it is."""
    return printable(words).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _read_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    if not Path(path).is_file():
        raise DataError(missing_file_message(path, kind="report"))
    try:
        content = json.loads(Path(path).read_bytes())
        if content["format"] != REPORT_FORMAT:
            raise ValueError(f"format {content['format']!r:.40}")
        _measured_lines(content)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error!s:.80}"
        raise DataError(f"{path} is no report.json of `solo test --report` ({reason})") from None
    return dict(content)


def _in_half(weights: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Float32 weights in float16; refuses those that are infinite there."""
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    for name, value in halves.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{source}: {printable(name)} has values outside float16, so leave half out")
    return halves


def _write_weights(path: Path, weights: dict[str, Tensor], meta: dict[str, Any], *, format: Format) -> None:
    if format == "pth":
        save_atomically({"state_dict": weights, "meta": meta}, path)
        return
    from safetensors.torch import save

    write_output(path, save(weights, metadata={"format": "pt", SAFETENSORS_META: json.dumps(meta)}))


def _portable(settings: Config) -> Config:
    """The config without the folders and files of its training."""
    portable = Config(settings.to_dict())
    for name in ("work_dir", "load_from", "resume", "launcher", "experiment_name"):
        portable.pop(name, None)
    if isinstance(portable.model.get("backbone"), Mapping):
        start_from_random_weights(portable)  # those of the checkpoint replace them
    return portable
