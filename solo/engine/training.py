"""Train a model from a config: the function behind `solo train`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process

from solo.checkpoints import load_checkpoint
from solo.checkpoints.hub import local_checkpoint
from solo.checkpoints.loading import check_resumable
from solo.checkpoints.saving import remove_unfinished
from solo.checkpoints.source import file_sha256
from solo.compat import build_errors
from solo.config import load_config
from solo.config.overrides import (
    add_hook,
    prepare_determinism,
    require_parts,
    set_epochs,
    use_amp,
    use_auto_scale_lr,
)
from solo.config.tiles import use_tiles
from solo.engine.batch_size import choose_batch_size
from solo.engine.distributed import NO_LAUNCHER, process_group, restart_count
from solo.engine.folder_lock import folder_lock
from solo.engine.hooks.checkpoint import latest_checkpoint
from solo.engine.runner import SOLORunner, build_runner, make_work_dir
from solo.engine.summary import training_summary
from solo.engine.trackers import add_tracker
from solo.errors import ConfigError

RESUME_LATEST = "auto"


def train(
    config_path: str,
    *,
    work_dir: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    seed: int | None = None,
    deterministic: bool = False,
    epochs: int | None = None,
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
        epochs: length of the training, to which the learning rate's schedule is stretched; by default the config's.
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
    config.work_dir = make_work_dir(config, config_path, work_dir)
    if amp:
        use_amp(config)
    if epochs is not None:
        set_epochs(config, epochs)
    if auto_scale_lr:
        use_auto_scale_lr(config, config_path)
    _set_randomness(config, seed=seed, deterministic=deterministic)
    _set_resume(config, resume)
    if val_loss:
        add_hook(config, "ValidationLossHook")
    if freeze:
        add_hook(config, "FreezeHook", names=list(freeze))
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
        runner = build_runner(config, config_path)
        runner.train()
        if is_main_process():
            runner.logger.info(training_summary(runner, config_path, has_overrides=bool(overrides)))
    return runner


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
