"""Datasets draw their random numbers from seed and epoch; someone has to tell them."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from solo.engine.dataset_wrappers import inner_datasets
from solo.registry import HOOKS


@HOOKS.register_module()
class DatasetEpochHook(Hook):
    """Hand the run's seed and the epoch to the training datasets: each pass is drawn anew, and reproducibly."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Before any worker starts."""
        for dataset in inner_datasets(runner.train_dataloader.dataset):
            if hasattr(dataset, "seed"):
                dataset.seed = runner.seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Before an epoch's workers start; a loop by iterations has one epoch, and numbers its batches instead."""
        for dataset in inner_datasets(runner.train_dataloader.dataset):
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(runner.epoch)
