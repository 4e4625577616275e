"""Changes to a config that command-line options and the machine ask for, before anything is built from it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from mmengine.config import Config, ConfigDict

from solo.errors import ConfigError


def require_parts(config: Config, keys: Sequence[str], *, config_path: str) -> None:
    """Raise unless a config has the parts that a command needs.

    Args:
        config: the config.
        keys: names of the parts.
        config_path: its file, for the message.

    Raises:
        ConfigError: it lacks some, as a file below `_base_` or one that is no config does.
    """
    missing = [key for key in keys if config.get(key) is None]
    if missing:
        raise ConfigError(
            f"config {config_path} has no {', '.join(missing)}; expected a whole config, which may inherit by _base_"
        )


def use_amp(config: Config) -> None:
    """Give the config the optimizer wrapper of `train(amp=True)`.

    Args:
        config: the config; changed in place.

    Raises:
        ConfigError: its wrapper is none of mmengine's or ours.
    """
    wrapper = config.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
        raise ConfigError(f"--amp: optim_wrapper.type must be OptimWrapper, got {kind!r}")
    if not torch.cuda.is_available():
        # The CPU has no fast float16, and mmengine's wrapper wants a GPU.
        for key in ("loss_scale", "dtype"):
            wrapper.pop(key, None)
        wrapper.type = "BFloat16OptimWrapper"
    elif kind != "BFloat16OptimWrapper":
        wrapper.type = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")


def use_auto_scale_lr(config: Config, config_path: str) -> None:
    """Scale the learning rate by the real batch size; mmengine does it when it builds the optimizer.

    Args:
        config: the config; changed in place.
        config_path: its file, for the message.

    Raises:
        ConfigError: it does not say for which batch size its rate is.
    """
    if "base_batch_size" not in config.get("auto_scale_lr", {}):
        raise ConfigError(f"{config_path}: --auto-scale-lr needs the key auto_scale_lr.base_batch_size")
    config.auto_scale_lr.enable = True


def prepare_determinism(config: Config) -> None:
    """What cuBLAS needs for `randomness.deterministic`, before its first use; mmengine does the rest.

    Args:
        config: the config; changed in place.
    """
    if config.get("randomness", {}).get("deterministic"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        config.env_cfg = ConfigDict({**(config.get("env_cfg") or {}), "cudnn_benchmark": False})


def set_metric_options(config: Config, *, out: str | None, classwise: bool) -> None:
    """Hand command-line wishes to the CocoMaskMetric of the test evaluator.

    Args:
        config: the config; changed in place.
        out: file of the detections, or None.
        classwise: report the AP of every class.

    Raises:
        ConfigError: something is wished for and there is no CocoMaskMetric.
    """
    if out is None and not classwise:
        return
    for evaluator in _coco_metrics(config, "test")[:1]:
        evaluator.results_file = out or evaluator.get("results_file")
        evaluator.classwise = classwise or evaluator.get("classwise", False)
        return
    raise ConfigError("--out and --classwise need a CocoMaskMetric in test_evaluator")


def encode_masks_for_evaluation(config: Config) -> None:
    """CocoMaskMetric takes run lengths: bitmaps are not made for it, unless a config or another metric wants them.

    Args:
        config: the config; changed in place.
    """
    for split in ("val", "test"):
        evaluators = config.get(f"{split}_evaluator") or []
        if len(_coco_metrics(config, split)) != len(evaluators if isinstance(evaluators, list) else [evaluators]):
            return
    if "postprocess" in config.model:
        config.model.postprocess.setdefault("mask_format", "rle")


def pin_memory_for_gpus_only(config: Config) -> None:
    """Without a GPU torch warns about every loader that pins memory, and has no use for it.

    Args:
        config: the config; changed in place.
    """
    for split in ("train", "val", "test"):
        loader = config.get(f"{split}_dataloader")
        if loader and loader.get("pin_memory") and not torch.cuda.is_available():
            loader.pin_memory = False


def _coco_metrics(config: Config, split: str) -> list[ConfigDict]:
    evaluators = config.get(f"{split}_evaluator") or []
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    return [evaluator for evaluator in evaluators if evaluator.get("type") in ("CocoMaskMetric", "solo.CocoMaskMetric")]
