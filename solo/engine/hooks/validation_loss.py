"""The loss on the validation images, beside their AP."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.dist import all_reduce_dict
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from solo.errors import ConfigError
from solo.registry import HOOKS

KEY = "val_"
"""Before the names of losses: `val_loss`, `val_loss_cls`, ..."""


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Compute the losses on the validation data before each validation, and log them as `val_loss`, ...

    The images go through the pipeline of the validation, with their objects; norms use their running statistics. An
    average of the weights (`BiasCorrectedEMAHook`) is measured in place of the trained weights, as by the validation.
    """

    priority = "LOW"  # after the hook that swaps the averaged weights in

    def __init__(self) -> None:
        self._loader: Any = None

    def before_train(self, runner: Runner) -> None:
        """Build the loader.

        Raises:
            ConfigError: there is no validation, or its data set is one of several.
        """
        self._loader = runner.build_dataloader(loss_loader(runner.cfg.get("val_dataloader")), seed=runner.seed)

    def before_val_epoch(self, runner: Runner) -> None:
        """Compute the losses and record them for the logger."""
        if self._loader is None:
            return
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        totals: dict[str, torch.Tensor] = {}
        count = torch.zeros(())
        with torch.no_grad():
            for batch in self._loader:
                data = model.data_preprocessor(batch, False)
                _, losses = model.parse_losses(model(**data, mode="loss"))
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0) + value.detach().float() * len(data["data_samples"])
                count += len(data["data_samples"])
        totals["count"] = count.to(next(iter(totals.values())).device)
        all_reduce_dict(totals, op="sum")
        for name, value in totals.items():
            if name != "count":
                _record(runner, f"val/{KEY}{name}", float(value / totals["count"]))


def loss_loader(loader: Any) -> Any:
    """The config of a validation loader with the objects of its images.

    Raises:
        ConfigError: there is no loader, or its data set has no pipeline of its own.
    """
    dataset: Any = (loader or {}).get("dataset") or {}
    if "pipeline" not in dataset:
        raise ConfigError("ValidationLossHook: val_dataloader.dataset has no pipeline of its own")
    loader = copy.deepcopy(loader)
    names = [step["type"].rpartition(".")[2] for step in dataset.pipeline]
    if "LoadInstances" not in names:
        loader.dataset.pipeline.insert(1, dict(type="LoadInstances"))
    loader.dataset.update(test_mode=False, filter_cfg=dict(filter_empty_gt=False))
    return loader


def _record(runner: Runner, name: str, value: float) -> None:
    """Replace the earlier value: mmengine's log shows the mean of all values of a loss."""
    runner.message_hub.log_scalars[name] = HistoryBuffer()
    runner.message_hub.update_scalar(name, value)
