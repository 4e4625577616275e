"""What training skipped must not stay silent."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from solo.engine.dataset_wrappers import inner_datasets
from solo.registry import HOOKS


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Log after each epoch how many images could not be read so far, from the datasets' `unreadable` count."""

    priority = "NORMAL"

    def __init__(self) -> None:
        """Start with nothing reported."""
        self._reported = 0

    def after_train_epoch(self, runner: Runner) -> None:
        """Log when the count has grown."""
        count = sum(
            int(getattr(dataset, "unreadable", 0)) for dataset in inner_datasets(runner.train_dataloader.dataset)
        )
        if count > self._reported:
            print_log(f"{count} unreadable images were skipped so far", logger="current", level=logging.WARNING)
        self._reported = count
