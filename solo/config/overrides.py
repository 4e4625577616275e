"""Changes that command-line options and the hardware require. Each function changes the config in place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from solo.errors import ConfigError

_EPOCHS_OF_SCHEDULERS = {"begin", "end", "T_max", "milestones", "step_size", "total_iters"}


def require_parts(config: Config, keys: Sequence[str], *, config_path: str) -> None:
    """Check that a config has the parts that a command needs.

    Raises:
        ConfigError: A part is missing, as in the files below `configs/_base_`.
    """
    missing = [key for key in keys if config.get(key) is None]
    if missing:
        raise ConfigError(
            f"config {config_path} has no {', '.join(missing)}; expected a complete config, which may inherit by _base_"
        )


def use_amp(config: Config) -> None:
    """Train with mixed precision: float16 with loss scaling on a GPU, bfloat16 on the CPU.

    Raises:
        ConfigError: The optimizer wrapper of the config is none that has a mixed-precision form.
    """
    wrapper = config.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
        raise ConfigError(f"--amp: optim_wrapper.type must be OptimWrapper, got {kind!r}")
    if not torch.cuda.is_available():
        # mmengine's AmpOptimWrapper requires a GPU, and float16 is slow on the CPU.
        for key in ("loss_scale", "dtype"):
            wrapper.pop(key, None)
        wrapper.type = "BFloat16OptimWrapper"
    elif kind != "BFloat16OptimWrapper":
        wrapper.type = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")


def set_epochs(config: Config, epochs: int) -> None:
    """Train for another number of epochs; what the learning rate's schedule counts in epochs changes in proportion.

    Raises:
        ConfigError: the config counts iterations, or there is no epoch to train.
    """
    if epochs < 1:
        raise ConfigError(f"--epochs must be at least 1, got {epochs}")
    former = config.train_cfg.get("max_epochs")
    if former is None:
        raise ConfigError("--epochs: the config counts iterations; set train_cfg.max_iters and param_scheduler instead")
    config.train_cfg.max_epochs = epochs
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if not scheduler.get("by_epoch", True):
            continue
        for key in _EPOCHS_OF_SCHEDULERS & scheduler.keys():
            scheduler[key] = _scale(scheduler[key], epochs / former)


def _scale(value: Any, factor: float) -> Any:
    if isinstance(value, Sequence):
        return [_scale(each, factor) for each in value]
    return max(round(value * factor), 1) if value else value


def use_auto_scale_lr(config: Config, config_path: str) -> None:
    """Enable mmengine's scaling of the learning rate with the actual batch size.

    Raises:
        ConfigError: The config does not state the batch size of its learning rate.
    """
    if "base_batch_size" not in config.get("auto_scale_lr", {}):
        raise ConfigError(f"{config_path}: --auto-scale-lr needs the key auto_scale_lr.base_batch_size")
    config.auto_scale_lr.enable = True


def prepare_determinism(config: Config) -> None:
    """With `randomness.deterministic`, set what cuBLAS reads on its first use and disable the cuDNN benchmark."""
    if config.get("randomness", {}).get("deterministic"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        config.env_cfg = ConfigDict({**(config.get("env_cfg") or {}), "cudnn_benchmark": False})


def set_metric_options(
    config: Config,
    *,
    out: str | None,
    classwise: bool,
    boundary: bool = False,
    report: Mapping[str, str] | None = None,
) -> None:
    """Have the first CocoMaskMetric of the test evaluator write detections or a report, and compute more kinds of AP.

    Args:
        config: changed in place.
        out: file for the detections.
        classwise: report the AP of every class.
        boundary: report boundary AP beside what the config names.
        report: `folder` and `title` of the report.

    Raises:
        ConfigError: An option is given and there is no CocoMaskMetric.
    """
    if out is None and report is None and not classwise and not boundary:
        return
    metrics = _coco_metrics(config, "test")
    if not metrics:
        raise ConfigError("--out, --report, --classwise and --boundary need a CocoMaskMetric in test_evaluator")
    metrics[0].results_file = out or metrics[0].get("results_file")
    metrics[0].report = None if report is None else dict(report)
    metrics[0].classwise = classwise or metrics[0].get("classwise", False)
    if boundary:
        from solo.evaluation.coco_metric import USUAL_METRICS  # few commands evaluate

        names = metrics[0].get("metric", USUAL_METRICS)
        metrics[0].metric = list(dict.fromkeys([*([names] if isinstance(names, str) else names), "boundary"]))


def encode_masks_for_evaluation(config: Config) -> None:
    """Skip bitmaps during evaluation where CocoMaskMetric, which takes RLE, is the only metric."""
    is_only_metric = all(_coco_metrics(config, split) == _evaluators(config, split) for split in ("val", "test"))
    if is_only_metric and "postprocess" in config.model:
        config.model.postprocess.setdefault("mask_format", "rle")


def start_from_random_weights(config: Config) -> None:
    """Let a measurement need no ImageNet weights: no file is missing, and nothing is downloaded."""
    config.model.backbone.init_cfg = None
    if "pretrained" in config.model.backbone:
        config.model.backbone.pretrained = False


def pin_memory_for_gpus_only(config: Config) -> None:
    """Disable pinned memory without a GPU, where torch warns about every loader that asks for it."""
    for split in ("train", "val", "test"):
        loader = config.get(f"{split}_dataloader")
        if loader and loader.get("pin_memory") and not torch.cuda.is_available():
            loader.pin_memory = False


def log_metrics_by_iteration(config: Config) -> None:
    """Record the iteration of each validation of an iteration-based training, where mmengine writes epoch 0."""
    logger = (config.get("default_hooks") or {}).get("logger")
    train_cfg = config.get("train_cfg") or {}
    if logger and (train_cfg.get("type") == "IterBasedTrainLoop" or train_cfg.get("by_epoch") is False):
        logger.setdefault("log_metric_by_epoch", False)


def _coco_metrics(config: Config, split: str) -> list[ConfigDict]:
    names = ("CocoMaskMetric", "solo.CocoMaskMetric")
    return [evaluator for evaluator in _evaluators(config, split) if evaluator.get("type") in names]


def _evaluators(config: Config, split: str) -> list[ConfigDict]:
    evaluators = config.get(f"{split}_evaluator") or []
    return evaluators if isinstance(evaluators, list) else [evaluators]


def add_hook(config: Config, hook_type: str, **options: Any) -> None:
    """Add a hook to those of the config."""
    config.custom_hooks = [*config.get("custom_hooks", []), ConfigDict(type=hook_type, **options)]
