"""Train and test a model from a config: the functions behind `solo train` and `solo test`."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size, is_main_process
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from torch import nn

from solo.checkpoints import load_checkpoint, load_weights
from solo.checkpoints.class_rows import move_class_rows
from solo.checkpoints.fitting import check_preprocessing
from solo.checkpoints.hub import local_checkpoint
from solo.checkpoints.loading import check_resumable, count_fitting, load_fitting_weights
from solo.checkpoints.saving import remove_unfinished
from solo.checkpoints.source import file_sha256
from solo.compat import build_errors
from solo.config import config_files, load_config
from solo.config.channels import check_channels
from solo.config.overrides import (
    encode_masks_for_evaluation,
    log_metrics_by_iteration,
    pin_memory_for_gpus_only,
    prepare_determinism,
    require_parts,
    set_metric_options,
    use_amp,
    use_auto_scale_lr,
)
from solo.config.tiles import use_tiles
from solo.deployment import DeploymentOptions
from solo.engine.batch_size import choose_batch_size
from solo.engine.data_loader import TimedDataLoader, image_paths, inner_datasets, set_worker_options
from solo.engine.distributed import NO_LAUNCHER, process_group, restart_count
from solo.engine.evaluation_record import record_evaluation
from solo.engine.exported_network import ExportedNetwork, use_exported
from solo.engine.folder_lock import folder_lock
from solo.engine.hooks import StopSignalsHook
from solo.engine.hooks.checkpoint import latest_checkpoint
from solo.engine.resume import restore_training
from solo.engine.summary import training_summary
from solo.engine.trackers import add_tracker
from solo.errors import CheckpointError, ConfigError, printable
from solo.evaluation import CocoMaskMetric
from solo.evaluation.report import check_report
from solo.inference.tta.config import trained_model, use_tta
from solo.output_files import check_outputs, inputs_within
from solo.registry import HOOKS
from solo.runtime.sessions import RuntimeOptions, is_exported, model_files

RESUME_LATEST = "auto"
AS_TRAINED = DeploymentOptions()
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


def train(
    config_path: str,
    *,
    work_dir: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    seed: int | None = None,
    deterministic: bool = False,
    batch_size: int | Literal["auto"] | None = None,
    val_loss: bool = False,
    freeze: Sequence[str] = (),
    trackers: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    launcher: str = "none",
) -> SOLORunner:
    """Train the model of a config.

    Args:
        config_path: the config file, or the name of a config that comes with solo.
        work_dir: folder of logs and checkpoints; by default the config's, else `./work_dirs/<config name>`.
        resume: checkpoint to resume from, or "auto" for the latest one of the work folder (the default in a restart
            by torchrun).
        amp: train with automatic mixed precision: on a GPU float16 with a dynamic loss scale, or the config's wrapper;
            on the CPU bfloat16.
        auto_scale_lr: scale the learning rate by the real batch size over `auto_scale_lr.base_batch_size`.
        seed: random seed; by default the config's.
        deterministic: use deterministic operations only (`randomness.deterministic`), as the CPU always does.
        batch_size: images a step and process; "auto" measures a step and chooses what fits; by default the config's.
        val_loss: compute the loss on the validation data too.
        freeze: shell patterns of parameter names that are not trained.
        trackers: names of `solo.engine.trackers.TRACKERS` to log to as well.
        overrides: config values by dotted key.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Returns:
        The runner after training.

    Raises:
        UserError: config, data or checkpoint cannot be used.
    """
    config = load_config(config_path, overrides=overrides)
    require_parts(config, ("model", "train_dataloader", "train_cfg", "optim_wrapper"), config_path=config_path)
    use_tiles(config)
    config.work_dir = _make_work_dir(config, config_path, work_dir)
    if amp:
        use_amp(config)
    if auto_scale_lr:
        use_auto_scale_lr(config, config_path)
    _set_randomness(config, seed=seed, deterministic=deterministic)
    _set_resume(config, resume)
    if val_loss:
        _add_hook(config, "ValidationLossHook")
    if freeze:
        _add_hook(config, "FreezeHook", names=list(freeze))
    for name in trackers:
        add_tracker(config, name, project=Path(config_path).stem)
    if batch_size is not None:
        _set_batch_size(config, batch_size, amp=amp, launcher=launcher)
    if config.get("load_from"):
        _fetch_start(config)
        checkpoint = load_checkpoint(config.load_from)  # fail before data and model are built
        if config.get("resume"):
            check_resumable(checkpoint, source=f"checkpoint {config.load_from}")
        del checkpoint
    with (
        process_group(config, launcher),
        build_errors(),
        folder_lock(config.work_dir, enabled=is_main_process()),
    ):
        if is_main_process():
            remove_unfinished(config.work_dir)
        runner = _build_runner(config, config_path)
        runner.train()
        if is_main_process():
            runner.logger.info(training_summary(runner, config_path, has_overrides=bool(overrides)))
    return runner


def test(
    config_path: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    show_dir: str | None = None,
    show_score_thr: float = 0.3,
    max_images: int | None = None,
    classwise: bool = False,
    report: str | None = None,
    resume: bool = False,
    tta: bool = False,
    tile: int | None = None,
    overlap: float | None = None,
    tile_scale: float | Sequence[int] | None = None,
    deployment: DeploymentOptions | RuntimeOptions | None = AS_TRAINED,
    overrides: Mapping[str, Any] | None = None,
    launcher: str = "none",
) -> dict[str, float]:
    """Evaluate a checkpoint, or an exported file, on the test split of a config.

    Args:
        config_path: the config file, or the name of a config that comes with solo.
        checkpoint: the weights, or an exported file, which takes the place of the config's model.
        work_dir: folder of the log and of the detections on disk; by default the config's, else
            `./work_dirs/<config name>`.
        out: file for the detections in COCO's results format (json).
        overwrite: replace a file that exists by `out`, and files in `show_dir` that no earlier test wrote.
        show_dir: folder for visualisations of the predictions.
        show_score_thr: lowest score of a drawn instance.
        max_images: maximum number of visualisations; None for all images.
        classwise: also report the AP of every class.
        report: folder for a report of what is wrong, see `solo.evaluation.report`.
        resume: resume an interrupted evaluation of the work folder (the default in a restart by torchrun); images
            whose detections are on disk are neither loaded nor predicted.
        tta: test-time augmentation: the config's `tta_pipeline`, or scales and flips of its test pipeline.
        tile: side of the tiles that images are cut into, pixels; 0 for whole images, None for the config's
            `model.tiles`.
        overlap: of the tiles, see `solo.tiles.Tiles`; None for the config's.
        tile_scale: `scale` of the tiles, likewise.
        deployment: how the network is run; None for the recommended options of the device, or for the defaults of
            an exported file, which takes `RuntimeOptions`.
        overrides: config values by dotted key.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Returns:
        The metrics, such as `coco/segm_mAP`.

    Raises:
        UserError: config, data or checkpoint cannot be used, or they differ from those of the resumed evaluation.
    """
    checkpoint = local_checkpoint(checkpoint)
    config = load_config(config_path, overrides=overrides)
    require_parts(config, ("model", "test_dataloader", "test_cfg", "test_evaluator"), config_path=config_path)
    tiles = use_tiles(config, size=tile, overlap=overlap, scale=tile_scale)
    if tta and tiles is not None:
        raise ConfigError("test-time augmentation predicts whole images; with --tta use --tile 0")
    weights = _set_tested_model(config, checkpoint, deployment=deployment, tta=tta)
    config.work_dir = _make_work_dir(config, config_path, work_dir)
    config.resume = False
    title = f"{Path(checkpoint).name} of {config_path}"
    report_options = None if report is None else dict(folder=str(report), title=title)
    set_metric_options(config, out=out, classwise=classwise, report=report_options)
    inputs = [*config_files(config.filename), *map(str, weights)]  # strings: the config with its hooks is dumped
    if out is not None:
        _make_folder(Path(out).parent, option="--out")
        check_outputs([out], overwrite=overwrite, inputs=inputs, allow_streams=True)
    if report is not None:
        _make_folder(report, option="--report")
        check_report(report, overwrite=overwrite)
    if show_dir is not None:
        _make_folder(show_dir, option="--show-dir")
        options = dict(show_dir=show_dir, score_thr=show_score_thr, max_images=max_images)
        _add_hook(config, "VisualizationHook", **options, overwrite=overwrite, inputs=inputs)
    encode_masks_for_evaluation(config)
    if tta:
        use_tta(config)
    with process_group(config, launcher), build_errors():
        runner = _build_runner(config, config_path)
        if out is not None:
            check_outputs(
                [out], overwrite=True, inputs=_data_files(runner, folder=Path(out).parent), allow_streams=True
            )
        record_evaluation(runner, weights=weights, resume=resume or restart_count() > 0)
        if isinstance(runner.model, ExportedNetwork):  # a checkpoint does it when it is loaded
            names = {"meta": {"dataset_meta": {"classes": runner.model.classes}}}
            runner.call_hook("after_load_checkpoint", checkpoint=names)
        return runner.test()


def _set_tested_model(
    config: Config, checkpoint: str, *, deployment: DeploymentOptions | RuntimeOptions | None, tta: bool
) -> list[Path]:
    """Let a config test a checkpoint or an exported file; returns the files of its weights.

    Fails before data and model are built.
    """
    if is_exported(checkpoint):
        options = None if deployment == AS_TRAINED else deployment
        if tta or isinstance(options, DeploymentOptions):
            raise ConfigError(f"{checkpoint}: an exported file has neither test-time augmentation nor {options}")
        files = model_files(checkpoint)
        use_exported(config, checkpoint, options)
        config.load_from = None
        return files
    if isinstance(deployment, RuntimeOptions):
        raise ConfigError(f"{checkpoint}: a checkpoint is run with solo.deployment.DeploymentOptions, got {deployment}")
    check_preprocessing(load_checkpoint(checkpoint), config, source=f"checkpoint {checkpoint}")
    config.load_from = checkpoint
    if deployment != AS_TRAINED:
        _add_hook(config, "DeploymentHook", options=None if deployment is None else asdict(deployment))
    return [Path(checkpoint)]


def _set_randomness(config: Config, *, seed: int | None, deterministic: bool) -> None:
    if seed is not None:
        if not 0 <= seed < 2**32:
            raise ConfigError(f"--seed must be at least 0 and below 2**32, got {seed}")
        config.randomness = ConfigDict({**config.get("randomness", {}), "seed": seed})
    if deterministic:
        config.randomness = ConfigDict({**config.get("randomness", {}), "deterministic": True})
    prepare_determinism(config)


def _set_resume(config: Config, resume: str | os.PathLike[str] | None) -> None:
    if resume is None and (restart_count() or (config.get("resume") and not config.get("load_from"))):
        resume = RESUME_LATEST
    if resume == RESUME_LATEST:
        resume = latest_checkpoint(config.work_dir)
    if resume is not None:
        config.resume = True
        config.load_from = str(resume)


def _fetch_start(config: Config) -> None:
    """Replace a name on the Hub by its file; name and sha256 stay in the config, which the training logs."""
    path = local_checkpoint(config.load_from)
    if path != config.load_from:
        config.loaded_from_hub = dict(name=config.load_from, sha256=file_sha256(path))
        config.load_from = path


def _set_batch_size(config: Config, batch_size: int | Literal["auto"], *, amp: bool, launcher: str) -> None:
    if batch_size == "auto":
        if launcher != NO_LAUNCHER:
            raise ConfigError("--batch-size auto measures in one process; with a launcher give a number")
        with build_errors():
            chosen = choose_batch_size(config, amp=amp)
        scale = config.get("auto_scale_lr") or {}
        factor = chosen.size / scale.get("base_batch_size", config.train_dataloader.batch_size)
        is_scaled = scale.get("enable", False)
        rate = f"scaled by {factor:g}" if is_scaled else f"as configured (--auto-scale-lr would scale it by {factor:g})"
        # The runner, which has the log, is built later.
        print(f"--batch-size auto: {chosen.size}, for a step needs {chosen.reason}. Learning rate {rate}")
        batch_size = chosen.size
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1, or auto, got {batch_size}")
    config.train_dataloader.batch_size = batch_size


def _add_hook(config: Config, hook_type: str, **options: Any) -> None:
    config.custom_hooks = [*config.get("custom_hooks", []), ConfigDict(type=hook_type, **options)]


def _build_runner(config: Config, config_path: str) -> SOLORunner:
    check_channels(config)
    encode_masks_for_evaluation(config)
    pin_memory_for_gpus_only(config)
    set_worker_options(config)
    log_metrics_by_iteration(config)
    # mmengine shares loggers between runners of one name, which differs by the second only: number the runs.
    config.experiment_name = f"{Path(config_path).stem}_{next(_run_numbers)}"
    return SOLORunner.from_cfg(config)


def _with_ground_truth(loop: BaseLoop) -> BaseLoop:
    """Give the dataset of a val or test loop to its metrics that read annotations."""
    datasets = list(inner_datasets(loop.dataloader.dataset))
    for metric in loop.evaluator.metrics:
        if isinstance(metric, CocoMaskMetric):
            metric.set_datasets(datasets)
    return loop


def _data_files(runner: Runner, *, folder: Path) -> list[str | Path]:
    """The annotation files of a test, and its images as far as they lie in a folder."""
    loop = runner.test_loop
    parts = (*inner_datasets(loop.dataloader.dataset), *loop.evaluator.metrics)
    annotations = [str(part.ann_file) for part in parts if getattr(part, "ann_file", None)]
    return [*annotations, *inputs_within(folder, image_paths(loop.dataloader.dataset))]


def _make_printable(record: logging.LogRecord) -> bool:
    """Escape control characters, which a name from a file may hold."""
    record.msg, record.args = "\n".join(map(printable, record.getMessage().split("\n"))), None
    return True


def _is_for_console(record: logging.LogRecord) -> bool:
    message = str(record.msg)
    repeats_ap_table = " coco/" in message and "Epoch(" in message
    return not message.startswith(FILE_ONLY_MESSAGES) and not repeats_ap_table


def _make_work_dir(config: Config, config_path: str, work_dir: str | None) -> str:
    folder = work_dir or config.get("work_dir") or os.path.join("work_dirs", Path(config_path).stem)
    _make_folder(folder, option="--work-dir")
    return folder


def _make_folder(folder: str | os.PathLike[str], *, option: str) -> None:
    """Make a folder for results before they are computed, so that they are not lost when it cannot be made."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{option}: folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{option}: folder {folder} is not writable")
