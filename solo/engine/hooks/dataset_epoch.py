"""Datasets draw their random numbers from seed and epoch; someone has to tell them."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

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
        """Before an epoch's workers start; a loop by iterations counts passes over the data instead."""
        _set_epoch(runner, runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Under a loop by iterations, when a pass over the data begins."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        batches_per_pass = max(len(runner.train_dataloader), 1)
        if runner.iter % batches_per_pass == 0:
            _set_epoch(runner, runner.iter // batches_per_pass)


def _set_epoch(runner: Runner, epoch: int) -> None:
    for dataset in inner_datasets(runner.train_dataloader.dataset):
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
