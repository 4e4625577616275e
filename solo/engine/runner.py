"""Training and testing from a config: the functions behind `tools/train.py` and `tools/test.py`."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size, is_main_process
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from torch import nn

from solo.checkpoints import load_checkpoint, load_weights
from solo.checkpoints.loading import share_that_fits
from solo.checkpoints.preprocessing import check_preprocessing
from solo.checkpoints.saving import remove_unfinished
from solo.config import load_config
from solo.config.overrides import (
    encode_masks_for_evaluation,
    fill_annotation_files,
    pin_memory_for_gpus_only,
    prepare_determinism,
    require_parts,
    set_metric_options,
    use_amp,
    use_auto_scale_lr,
)
from solo.deployment import DeploymentOptions
from solo.engine.data_loader import WatchedLoader, set_timeouts
from solo.engine.distributed import processes, restart_count
from solo.engine.evaluation_record import record_evaluation
from solo.engine.latest_checkpoint import latest_checkpoint
from solo.engine.part_errors import refused_parts_as_config_errors
from solo.errors import ConfigError
from solo.inference.tta.config import trained_model, use_tta

RESUME_LATEST = "auto"
AS_TRAINED = DeploymentOptions()
# Starts of messages that the console is spared: dumps, and remarks of mmengine about its own insides.
FILE_ONLY_MESSAGES = (
    "\n---",
    "Config:",
    "Hooks will be executed",
    "Exp name:",
    "Distributed training is not used",
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    "`save_param_scheduler` is True but",
    "paramwise_options -- ",
)

_run_numbers = itertools.count(1)


class SOLORunner(Runner):
    """mmengine's Runner with a short console, and with checkpoints that must fit when they are tested."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Keep the dumps of environment, config and hooks in the log file, out of the console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_for_console)
        return logger

    def build_model(self, model: Any) -> nn.Module:
        """Build the model; what its constructors refuse is a mistake in the config.

        Raises:
            ConfigError: values of the config's `model` do not fit each other.
        """
        try:
            return super().build_model(model)
        except ValueError as error:
            raise ConfigError(f"config key 'model' cannot be built: {error}") from error

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes.

        Raises:
            ConfigError: it has synchronised norms, which torch has for GPUs alone, and there is none.
        """
        synchronised = [name for name, part in model.named_modules() if isinstance(part, nn.SyncBatchNorm)]
        if synchronised and get_world_size() > 1 and not torch.cuda.is_available():
            raise ConfigError(
                f"{len(synchronised)} norms such as {synchronised[0]} are SyncBN, which several processes cannot "
                "compute without GPUs; --cfg-options model.backbone.norm_cfg.type=BN has norms of each process"
            )
        return super().wrap_model(model_wrapper_cfg, model)

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> WatchedLoader:
        """Build a loader that names the images its workers are stuck at."""
        return WatchedLoader.of(Runner.build_dataloader(*args, **kwargs))

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Load weights; every one must fit, unless they only initialize a training.

        Raises:
            CheckpointError: the file cannot be used, or its weights are not those of the model.
        """
        initializes_training = isinstance(self._train_loop, BaseLoop) and not self._resume
        if initializes_training:
            share = share_that_fits(
                trained_model(self.model), load_checkpoint(filename), source=f"checkpoint {filename}"
            )
            checkpoint = super().load_checkpoint(filename, *args, **kwargs)
            self.logger.info(f"{share} of the model's tensors start as in {filename}")
            return checkpoint
        checkpoint = load_checkpoint(filename)
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name.removeprefix("module."): value for name, value in weights.items()}
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        load_weights(trained_model(self.model), checkpoint, source=f"checkpoint {filename}")
        self._has_loaded = True
        self.logger.info(f"Loaded {filename}")
        return checkpoint


def train(
    config_path: str,
    *,
    work_dir: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    seed: int | None = None,
    deterministic: bool = False,
    overrides: Mapping[str, Any] | None = None,
    launcher: str = "none",
) -> SOLORunner:
    """Train the model of a config.

    Args:
        config_path: the config file.
        work_dir: folder of logs and checkpoints; by default the config's, else `./work_dirs/<config name>`.
        resume: a checkpoint to continue from, or "auto" for the latest one of the work folder, as in a restart by
            torchrun.
        amp: train with automatic mixed precision: float16 with a dynamic loss scale on a GPU, or what the config's
            wrapper says; bfloat16 on the CPU.
        auto_scale_lr: scale the learning rate by the real batch size over `auto_scale_lr.base_batch_size`.
        seed: seed of everything random; by default the config's.
        deterministic: use only operations that give the same bits each time (`randomness.deterministic`). On a CPU
            they do so anyway.
        overrides: config values by dotted key.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Returns:
        The runner after training.

    Raises:
        UserError: config, data or checkpoint cannot be used.
    """
    config = load_config(config_path, overrides=overrides)
    require_parts(config, ("model", "train_dataloader", "train_cfg", "optim_wrapper"), config_path=config_path)
    config.work_dir = _work_dir(config, config_path, work_dir)
    if amp:
        use_amp(config)
    if auto_scale_lr:
        use_auto_scale_lr(config, config_path)
    if seed is not None:
        if not 0 <= seed < 2**32:
            raise ConfigError(f"--seed must be at least 0 and below 2**32, came {seed}")
        config.randomness = ConfigDict({**config.get("randomness", {}), "seed": seed})
    if deterministic:
        config.randomness = ConfigDict({**config.get("randomness", {}), "deterministic": True})
    prepare_determinism(config)
    if resume is None and restart_count():
        resume = RESUME_LATEST
    if resume == RESUME_LATEST:
        resume = latest_checkpoint(config.work_dir)
    if resume is not None:
        config.resume = True
        config.load_from = str(resume)
    if config.get("load_from"):
        load_checkpoint(config.load_from)  # a bad file should fail before data and model are built
    with processes(config, launcher), refused_parts_as_config_errors():
        if is_main_process():
            remove_unfinished(config.work_dir)
        runner = _build_runner(config, config_path)
        runner.train()
    return runner


def test(
    config_path: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    show_score_thr: float = 0.3,
    max_pictures: int | None = None,
    classwise: bool = False,
    resume: bool = False,
    tta: bool = False,
    deployment: DeploymentOptions | None = AS_TRAINED,
    overrides: Mapping[str, Any] | None = None,
    launcher: str = "none",
) -> dict[str, float]:
    """Evaluate a checkpoint on the test split of a config.

    Args:
        config_path: the config file.
        checkpoint: the weights.
        work_dir: folder of the log and of the detections so far; by default the config's, else
            `./work_dirs/<config name>`.
        out: where to write the detections in COCO's results format (json).
        show_dir: where to draw the predictions.
        show_score_thr: instances with a lower score are not drawn.
        max_pictures: how many pictures to draw at most; None for all.
        classwise: report the AP of every class too.
        resume: go on with an interrupted evaluation of the work folder, as in a restart by torchrun; images whose
            detections are there are neither loaded nor predicted.
        tta: merge what several views of each image show; the config's `tta_pipeline`, or flips and scales of its test.
        deployment: how the network is run; None for what is recommended on the device.
        overrides: config values by dotted key.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Returns:
        The metrics, such as `coco/segm_mAP`.

    Raises:
        UserError: config, data or checkpoint cannot be used, or the interrupted evaluation is of other ones.
    """
    config = load_config(config_path, overrides=overrides)
    require_parts(config, ("model", "test_dataloader", "test_cfg", "test_evaluator"), config_path=config_path)
    # A bad file should fail before data and model are built.
    check_preprocessing(load_checkpoint(checkpoint), config, source=f"checkpoint {checkpoint}")
    config.work_dir = _work_dir(config, config_path, work_dir)
    config.load_from = checkpoint
    config.resume = False
    set_metric_options(config, out=out, classwise=classwise)
    if out is not None:
        if os.path.isdir(out):
            raise ConfigError(f"--out: {out} is a folder; expected a file")
        _make_folder(Path(out).parent, option="--out")
    if show_dir is not None:
        _make_folder(show_dir, option="--show-dir")
        pictures = dict(type="PicturesHook", show_dir=show_dir, score_thr=show_score_thr, max_pictures=max_pictures)
        config.custom_hooks = [*config.get("custom_hooks", []), ConfigDict(pictures)]
    if deployment != AS_TRAINED:
        hook = dict(type="DeploymentHook", options=None if deployment is None else asdict(deployment))
        config.custom_hooks = [*config.get("custom_hooks", []), ConfigDict(hook)]
    encode_masks_for_evaluation(config)
    if tta:
        use_tta(config)
    with processes(config, launcher), refused_parts_as_config_errors():
        runner = _build_runner(config, config_path)
        record_evaluation(runner, checkpoint=checkpoint, resume=resume or restart_count() > 0)
        return runner.test()


def _build_runner(config: Config, config_path: str) -> SOLORunner:
    """mmengine shares loggers between runners of one name, and names hold seconds only: count the runs of a process."""
    fill_annotation_files(config)
    encode_masks_for_evaluation(config)
    pin_memory_for_gpus_only(config)
    set_timeouts(config)
    config.experiment_name = f"{Path(config_path).stem}_{next(_run_numbers)}"
    return SOLORunner.from_cfg(config)


def _is_for_console(record: logging.LogRecord) -> bool:
    message = str(record.msg)
    repeats_ap_table = " coco/" in message and "Epoch(" in message
    return not message.startswith(FILE_ONLY_MESSAGES) and not repeats_ap_table


def _work_dir(config: Config, config_path: str, work_dir: str | None) -> str:
    folder = work_dir or config.get("work_dir") or os.path.join("work_dirs", Path(config_path).stem)
    _make_folder(folder, option="--work-dir")
    return folder


def _make_folder(folder: str | os.PathLike[str], *, option: str) -> None:
    """Make a folder for results before there are any, to be lost when it cannot be made."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{option}: folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{option}: folder {folder} is not writable")
