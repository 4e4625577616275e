"""mmengine's Runner as trainings and tests of this project use it."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from torch import nn

from solo.checkpoints import load_checkpoint, load_weights
from solo.checkpoints.class_rows import move_class_rows
from solo.checkpoints.loading import count_fitting, load_fitting_weights
from solo.config.channels import check_channels
from solo.config.overrides import (
    encode_masks_for_evaluation,
    log_metrics_by_iteration,
    pin_memory_for_gpus_only,
)
from solo.engine.data_loader import TimedDataLoader, inner_datasets, set_worker_options
from solo.engine.exported_network import ExportedNetwork
from solo.engine.hooks import StopSignalsHook
from solo.engine.resume import restore_training
from solo.errors import CheckpointError, ConfigError, printable
from solo.evaluation import CocoMaskMetric
from solo.inference.tta.config import trained_model
from solo.output_files import make_folder
from solo.registry import HOOKS

# Prefixes of messages that go to the log file only.
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
    """mmengine's Runner with a short console log, and strict loading of the checkpoints that are tested."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger; the dumps of environment, config and hooks go to the log file only."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            handler.addFilter(_make_printable)
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_for_console)
        return logger

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes.

        Raises:
            ConfigError: the model has SyncBN, which torch supports on GPUs only, and there is no GPU.
        """
        if isinstance(model, ExportedNetwork):  # it has no parameters, which DistributedDataParallel refuses
            return model
        synchronised = [name for name, part in model.named_modules() if isinstance(part, nn.SyncBatchNorm)]
        if synchronised and get_world_size() > 1 and not torch.cuda.is_available():
            raise ConfigError(
                f"{len(synchronised)} norms such as {synchronised[0]} are SyncBN, which several processes cannot "
                "compute without GPUs; use --cfg-options model.backbone.norm_cfg.type=BN for norms per process"
            )
        for options in self.cfg.get("custom_hooks") or []:
            if options.get("type") in ("FreezeHook", "solo.FreezeHook"):
                count = HOOKS.build(options).freeze(model)
                self.logger.info(f"{count} parameters are frozen")
        return super().wrap_model(model_wrapper_cfg, model)

    def build_val_loop(self, loop: Any) -> BaseLoop:
        """Build the loop; its metrics evaluate against the annotations of its dataset."""
        return _with_ground_truth(super().build_val_loop(loop))

    def build_test_loop(self, loop: Any) -> BaseLoop:
        """Build the loop; its metrics evaluate against the annotations of its dataset."""
        return _with_ground_truth(super().build_test_loop(loop))

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> TimedDataLoader:
        """Build a loader that names the images its workers are stuck at."""
        return TimedDataLoader.from_loader(Runner.build_dataloader(*args, **kwargs))

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Load weights. To test or resume every tensor must fit; to initialize a training at least one.

        Raises:
            CheckpointError: the file cannot be used, or its weights do not fit the model.
        """
        checkpoint = load_checkpoint(filename)
        initializes_training = isinstance(self._train_loop, BaseLoop) and not self._resume
        if initializes_training:
            self._start_from(checkpoint, source=filename)
            return checkpoint
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        load_weights(trained_model(self.model), checkpoint, source=f"checkpoint {filename}")
        self._has_loaded = True
        self.logger.info(f"Loaded {filename}")
        return checkpoint

    def _start_from(self, checkpoint: dict, *, source: str) -> None:
        """Initialise the model with what fits, the rows of classes by the names of the classes."""
        model = trained_model(self.model)
        classes = (getattr(self.train_dataloader.dataset, "metainfo", None) or {}).get("classes") or ()
        rows = move_class_rows(checkpoint, model.state_dict(), classes, source=f"checkpoint {source}")
        if rows is not None:
            self.logger.info(f"Classes of {source}: {rows}")
        share = count_fitting(model, checkpoint, source=f"checkpoint {source}")
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        load_fitting_weights(model, checkpoint)
        self._has_loaded = True
        self.logger.info(f"{share} of the model's tensors start as in {source}")

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continue a training; paths in the checkpoint are confined to the work folder, configs not evaluated.

        Raises:
            CheckpointError: the file cannot be used, or its state does not fit the training.
        """
        checkpoint = self.load_checkpoint(filename)
        try:
            restore_training(self, checkpoint)
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(f"checkpoint {filename} cannot be resumed by this config ({reason:.200})") from error
        info = self.message_hub.runtime_info
        for key in info:
            if key.startswith(("best_ckpt", "last_ckpt")):  # CheckpointHook removes the files of these names
                info[key] = os.path.join(self.work_dir, os.path.basename(str(info[key])))
        self.logger.info(f"Resumed after epoch {self.epoch}, step {self.iter}")

    def train(self) -> nn.Module:
        """Train; signals have their former handlers afterwards, also after an error."""
        hooks = [hook for hook in self.hooks if isinstance(hook, StopSignalsHook)]
        try:
            return super().train()
        except Exception:
            if any(hook.is_interrupted for hook in hooks):  # and a bare `except` has caught the KeyboardInterrupt
                raise KeyboardInterrupt from None
            raise
        finally:
            for hook in hooks:
                hook.after_train(self)


def build_runner(config: Config, config_path: str) -> SOLORunner:
    """Build the runner of a complete config; `config_path` names the run."""
    check_channels(config)
    encode_masks_for_evaluation(config)
    pin_memory_for_gpus_only(config)
    set_worker_options(config)
    log_metrics_by_iteration(config)
    # mmengine shares loggers between runners of one name, which differs by the second only: number the runs.
    config.experiment_name = f"{Path(config_path).stem}_{next(_run_numbers)}"
    return SOLORunner.from_cfg(config)


def make_work_dir(config: Config, config_path: str, work_dir: str | None) -> str:
    """Make the folder of logs and checkpoints: the given one, the config's, or `work_dirs/<config name>`."""
    folder = work_dir or config.get("work_dir") or os.path.join("work_dirs", Path(config_path).stem)
    make_folder(folder, option="--work-dir")
    return folder


def _with_ground_truth(loop: BaseLoop) -> BaseLoop:
    """Give the dataset of a val or test loop to its metrics that read annotations."""
    datasets = list(inner_datasets(loop.dataloader.dataset))
    for metric in loop.evaluator.metrics:
        if isinstance(metric, CocoMaskMetric):
            metric.set_datasets(datasets)
    return loop


def _make_printable(record: logging.LogRecord) -> bool:
    """Escape control characters, which a name from a file may hold."""
    record.msg, record.args = "\n".join(map(printable, record.getMessage().split("\n"))), None
    return True


def _is_for_console(record: logging.LogRecord) -> bool:
    message = str(record.msg)
    repeats_ap_table = " coco/" in message and "Epoch(" in message
    return not message.startswith(FILE_ONLY_MESSAGES) and not repeats_ap_table
