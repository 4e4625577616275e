"""Resume a training: position, weights and moments come from the checkpoint, all options from the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner


def restore_training(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Restore position, seed, history, optimizer and schedule; the weights are loaded already.

    The learning rate is the one that the config's schedule has at this point: it is computed anew, so that a longer
    or otherwise changed schedule is followed. Schedules that depend on metrics continue as saved instead.

    Args:
        runner: its loop, optimizer and schedulers are built.
        checkpoint: result of `load_checkpoint`, checked by `check_resumable`.

    Raises:
        ValueError, LookupError, ...: the position or the state does not fit the training.
    """
    length = checkpoint["message_hub"]["runtime_info"].get("epoch_length")
    loop: Any = runner.train_loop
    loop.resume_at(
        checkpoint["meta"]["epoch"],
        checkpoint["meta"]["iter"],
        epoch_length=length if isinstance(length, int) else None,
    )
    seed = checkpoint["meta"].get("seed")
    if seed is not None and seed != runner.seed:
        runner.logger.warning(f"The training continues with the checkpoint's seed {seed}, not {runner.seed}")
        runner._randomness_cfg.update(seed=seed)
        runner.set_randomness(**runner._randomness_cfg)
    runner.message_hub.load_state_dict(checkpoint["message_hub"])
    schedulers: Any = runner.param_schedulers or []
    saved_rate = checkpoint["optimizer"]["param_groups"][0]["lr"]
    if depends_on_metrics(runner):
        runner.optim_wrapper.load_state_dict(checkpoint["optimizer"])
        for scheduler, state in zip(schedulers, checkpoint["param_schedulers"], strict=True):
            # mmengine ends a schedule with the training, which may be longer now.
            scheduler.load_state_dict({**state, "begin": scheduler.begin, "end": scheduler.end})
    else:
        _restore_moments(runner.optim_wrapper, checkpoint["optimizer"])
        _replay_schedule(schedulers, loop, runner.optim_wrapper)
    _check_shapes(runner.optim_wrapper)
    rate = runner.optim_wrapper.param_groups[0]["lr"]
    if rate != saved_rate:
        runner.logger.warning(
            f"The config's schedule continues at lr {rate:g}; the checkpoint was saved at {saved_rate:g}"
        )


def depends_on_metrics(runner: Runner) -> bool:
    """Whether a schedule steps after validations, as `ReduceOnPlateauLR` does."""
    schedulers: Any = runner.param_schedulers or []
    return any(getattr(scheduler, "need_val_args", False) for scheduler in schedulers)


def _restore_moments(wrapper: OptimWrapper, saved: Mapping[str, Any]) -> None:
    """Load the state of each parameter; learning rate, weight decay and other options stay as built from the config."""
    groups = [
        {**group, "params": saved_group["params"]}
        for group, saved_group in zip(wrapper.optimizer.param_groups, saved["param_groups"], strict=True)
    ]
    state = {key: value for key, value in saved.items() if key != "base_param_settings"}
    wrapper.load_state_dict({**state, "param_groups": groups})


def _replay_schedule(schedulers: list[Any], loop: Any, wrapper: OptimWrapper) -> None:
    """Step the schedulers as the training up to this point would have done."""
    vars(wrapper)["_global_step"] = loop.iter  # mmengine warns about schedulers that step before the optimizer
    by_step = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    ends_of_epochs = {epoch * loop.epoch_length for epoch in range(1, loop.epoch + 1)}
    for step in range(1, loop.iter + 1):
        for scheduler in by_step:
            scheduler.step()
        if step in ends_of_epochs:
            for scheduler in by_epoch:
                scheduler.step()


def _check_shapes(wrapper: OptimWrapper) -> None:
    for parameter, state in wrapper.optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.numel() != 1 and value.shape != parameter.shape:
                raise ValueError(f"{key} of shape {tuple(value.shape)} for weights of {tuple(parameter.shape)}")
