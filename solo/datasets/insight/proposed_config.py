"""Writes what the tuner proposes as a config that inherits the base, with the reasons in comments."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from yapf.yapflib.yapf_api import FormatCode

from solo.datasets.insight.base_settings import step_name
from solo.datasets.insight.object_losses import COLLIDED, REASONS
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.tuning import TuningOption, TuningResult
from solo.errors import printable

_STYLE = dict(based_on_style="pep8", column_limit=120, split_before_expression_after_opening_paren=True)
_COMMENT_WIDTH = 116
_CROP_JITTER = (0.75, 1.25)
_RESIZES = ("Resize", "RandomResize", "RandomChoiceResize", "RandomCrop", "RandomOverlapCrop", "FilterAnnotations")


def proposal_text(
    result: TuningResult,
    config: Config,
    *,
    base: str,
    train: AnnotationSource,
    val: AnnotationSource | None,
) -> str:
    """The text of a config for the chosen size.

    Args:
        result: What the tuner found.
        config: The base, loaded.
        base: Its name or path, as `_base_` shall have it.
        train: The annotations to train on.
        val: Those to validate with; None validates on the training images, and says so.
    """
    chosen = result.chosen
    parts = [
        _header(result, base),
        f"_base_ = {base!r}",
        _comment("Classes in the order of the labels, and the files."),
        f"classes = {tuple(train.checked.classes)!r}",
        _data_lines(train, val),
        _comment(_grid_reason(result)),
        f"model = {_literal(_model(result, config))}",
        _comment(_size_reason(result)),
    ]
    for name, loader in (("train", "train_dataloader"), ("test", "val_dataloader")):
        steps = config[f"{name}_dataloader"]["dataset"]["pipeline"]
        pipeline = _train_steps(steps, result) if name == "train" else _test_steps(steps, chosen)
        parts.append(f"{name}_pipeline = {_literal(pipeline)}")
        data = "train_data" if name == "train" else "val_data"
        parts.append(f"{loader} = dict(dataset=dict(**{data}, pipeline={name}_pipeline))")
    parts += ["test_dataloader = val_dataloader", _evaluators(config, chosen)]
    text, _ = FormatCode("\n".join(parts), style_config=_STYLE)
    return str(text)


def _header(result: TuningResult, base: str) -> str:
    chosen = result.chosen
    lines = [
        f"Proposed by `solo data tune`, which looked at {result.num_objects} objects in {result.num_images} images.",
        f"{_describe(result.base, base)}",
        f"{_describe(chosen, 'This config')}",
        f"Pixels of network input an image, relative to the base: {chosen.train_cost:.2f} in training, "
        f"{chosen.test_cost:.2f} in a test.",
    ]
    return "\n".join(map(_comment, lines))


def _describe(option: TuningOption, name: str) -> str:
    losses = [f"{option.losses.share(reason):.1%} {reason}" for reason in REASONS if option.losses.share(reason)]
    lost = f"objects lost: {', '.join(losses)}" if losses else "no object is lost"
    return f"{name} ({option.plan}): {lost}; mask AP is bounded by {option.reachable_ap:.3f}."


def _grid_reason(result: TuningResult) -> str:
    base, chosen = result.base, result.chosen
    reasons = []
    if chosen.grid.num_grids != base.grid.num_grids:
        reasons.append(
            f"Finer grids: with the base's {list(base.grid.num_grids)} neighbours share cells; now "
            f"{chosen.losses.share(COLLIDED):.1%} of the objects have none of their own."
        )
    if chosen.grid.scale_ranges != base.grid.scale_ranges:
        reasons.append("Scale ranges widened to hold all objects.")
    reasons.append(f"An image has up to {result.most_objects} objects, which max_per_img, nms_pre and max_dets hold.")
    if result.largest_component:
        reasons.append(
            f"{result.in_pieces:.1%} of the objects are in several pieces: of a predicted mask the largest piece is "
            "kept."
        )
    if chosen.plan.tile:
        reasons.append("Tests cut images into tiles as large as the crops of the training.")
    return " ".join(reasons)


def _size_reason(result: TuningResult) -> str:
    chosen, base = result.chosen, result.base
    if chosen.plan == base.plan:
        return "The base's size: no other one within the budget bounds mask AP clearly higher."
    return (
        f"Input size: masks are made at a quarter of the input's size, where half of the objects have at most "
        f"{_median_area(base):.0f} pixels with the base and {_median_area(chosen):.0f} now."
        + (" Crops keep the cost of a training step." if chosen.plan.tile else "")
    )


def _median_area(option: TuningOption) -> float:
    areas = sorted(option.losses.areas.tolist())
    return float(areas[len(areas) // 2])


def _model(result: TuningResult, config: Config) -> dict[str, Any]:
    chosen, model = result.chosen, config.model
    changed: dict[str, Any] = {"num_classes": _Name("len(classes)")}
    grid: dict[str, Any] = {}
    if chosen.grid.num_grids != tuple(model.grid.num_grids):
        grid["num_grids"] = list(chosen.grid.num_grids)
    if chosen.grid.scale_ranges != result.base.grid.scale_ranges:
        grid["scale_ranges"] = [tuple(limits) for limits in chosen.grid.scale_ranges]
    if grid:
        changed["grid"] = grid
    limits = chosen.limits
    post: dict[str, Any] = {"nms_pre": limits.nms_pre, "max_per_img": limits.max_per_img}
    if limits.min_area_factor != result.base.limits.min_area_factor:
        post["min_area_factor"] = limits.min_area_factor
    if result.largest_component != model.postprocess.get("largest_component", False):
        post["largest_component"] = result.largest_component
    changed["postprocess"] = post
    if chosen.plan.tile is not None:
        changed["tiles"] = {
            "size": chosen.plan.tile, "overlap": chosen.plan.overlap, "scale": chosen.plan.scale, "batch_size": 4
        }  # fmt: skip
    elif model.get("tiles") is not None:
        changed["tiles"] = None
    return changed


def _train_steps(steps: Sequence[Mapping[str, Any]], result: TuningResult) -> list[dict[str, Any]]:
    """The base's steps with the proposed size in place of its resizing and cropping."""
    chosen, base = result.chosen, result.base
    if chosen.plan == base.plan:
        return [_plain(step) for step in steps]
    if chosen.plan.tile is None:
        factor = max(chosen.plan.scale or ()) / max(base.plan.scale or chosen.plan.scale or ())
        return [_scaled(_plain(step), factor) for step in steps]
    sized: list[dict[str, Any]] = [
        dict(
            type="RandomResize",
            scale=chosen.plan.scale,
            ratio_range=_CROP_JITTER,
            keep_ratio=True,
            resize_type="mmdet.Resize",
        ),
        dict(
            type="mmdet.RandomCrop",
            crop_size=(chosen.plan.tile, chosen.plan.tile),
            recompute_bbox=True,
            allow_negative_crop=True,
        ),
    ]
    kept = [_plain(step) for step in steps if step_name(step) not in _RESIZES]
    names = [step_name(step) for step in kept]
    loaded = 1 + max((index for index, name in enumerate(names) if name.startswith("Load")), default=-1)
    return [*kept[:loaded], *sized, *kept[loaded:]]


def _scaled(step: dict[str, Any], factor: float) -> dict[str, Any]:
    """A step with its sizes in pixels multiplied."""
    for key in ("scale", "scales", "crop_size"):
        if key in step and step_name(step) in _RESIZES:
            step[key] = _multiply(step[key], factor)
    return step


def _multiply(value: Any, factor: float) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_multiply(entry, factor) for entry in value)
    return round(value * factor)


def _test_steps(steps: Sequence[Mapping[str, Any]], chosen: TuningOption) -> list[dict[str, Any]]:
    changed = []
    for step in map(_plain, steps):
        if step_name(step) == "Resize" and chosen.plan.scale is not None:
            step["scale"] = chosen.plan.scale
        changed.append(step)
    return changed


def _plain(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step without mmengine's types."""
    return Config(dict(step=step)).to_dict()["step"]


def _data_lines(train: AnnotationSource, val: AnnotationSource | None) -> str:
    lines = [f"train_data = {_literal(_dataset(train))}"]
    if val is None:
        lines.append(_comment("There are no other images: the AP is that of the training images, which says little."))
    lines.append(f"val_data = {_literal(_dataset(val or train))}")
    return "\n".join(lines)


def _dataset(source: AnnotationSource) -> dict[str, Any]:
    path, folder = source.path.resolve(), source.folder.resolve()
    root = Path(os.path.commonpath([path.parent, folder]))
    return {
        "data_root": f"{root}/",
        "ann_file": os.path.relpath(path, root),
        "data_prefix": {"img": "" if folder == root else f"{os.path.relpath(folder, root)}/"},
        "classes": _Name("classes"),
    }


def _evaluators(config: Config, chosen: TuningOption) -> str:
    if not isinstance(config.get("val_evaluator"), Mapping):
        return ""
    return f"val_evaluator = dict(max_dets={chosen.limits.max_dets})\ntest_evaluator = val_evaluator"


class _Name(str):
    """A name or expression of the config that is written, in place of a literal."""

    def __repr__(self) -> str:
        return str(self)


def _literal(value: Any) -> str:
    """A value as code, dicts in the form dict(key=value) that configs use."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return "dict(" + ", ".join(f"{key}={_literal(entry)}" for key, entry in value.items()) + ")"
        return "{" + ", ".join(f"{key!r}: {_literal(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(_literal, value))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _comment(text: str) -> str:
    """Text as comment lines of limited width."""
    lines = [""]
    for word in printable(re.sub(r"\s+", " ", text)).split(" "):
        if len(lines[-1]) + len(word) + 1 > _COMMENT_WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}"
    return "\n".join(f"#{line}" for line in lines)
