"""Hooks about the data: seeds and epochs, class names, unreadable images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from solo.engine.data_loader import inner_datasets
from solo.errors import ConfigError
from solo.registry import HOOKS


@HOOKS.register_module()
class DatasetEpochHook(Hook):
    """Set the seed and the epoch of the training datasets, which seed the random transforms of each sample."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Set the seed before any worker starts."""
        for dataset in inner_datasets(runner.train_dataloader.dataset):
            if hasattr(dataset, "seed"):
                dataset.seed = runner.seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the epoch before its workers start; an iteration-based loop has one epoch and numbers its batches."""
        for dataset in inner_datasets(runner.train_dataloader.dataset):
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(runner.epoch)


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Warn after each epoch when more images could not be read (the datasets' `unreadable` count)."""

    priority = "NORMAL"
    _reported = 0

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the count when it has grown."""
        datasets = inner_datasets(runner.train_dataloader.dataset)
        count = sum(int(getattr(dataset, "unreadable", 0)) for dataset in datasets)
        if count > self._reported:
            runner.logger.warning(f"{count} unreadable images were skipped so far")
        self._reported = count


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Check before the first step that data and model have the same classes.

    The number of classes is compared with `model.num_classes`. The class names of a tested or resumed checkpoint are
    compared with those of the data; a difference is logged as a warning.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        """Compare every data loader that has been built with the model.

        Raises:
            ConfigError: the numbers of classes differ, or validation data has other classes than training data.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        num_classes = getattr(model, "num_classes", None)
        train_classes: tuple[str, ...] | None = None
        for split, classes in _classes_by_split(runner):
            if num_classes is not None and len(classes) != num_classes:
                raise ConfigError(
                    f"the {split} data has {len(classes)} classes {_shorten(classes)}, but the model has"
                    f" {num_classes}: set model.num_classes={len(classes)} or the data's `classes`"
                )
            if train_classes is not None and classes != train_classes:
                raise ConfigError(
                    f"the {split} data has the classes {_shorten(classes)}, but the train data has"
                    f" {_shorten(train_classes)}: name the same classes in the same order"
                )
            train_classes = classes if split == "train" else train_classes

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Warn when a tested or resumed checkpoint was trained with other class names than those of the data."""
        trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes")
        initializes_training = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        if not trained or initializes_training:
            return
        for split, classes in _classes_by_split(runner):
            if tuple(trained) != classes:
                runner.logger.warning(
                    f"the checkpoint was trained with the classes {_shorten(tuple(trained))}, the {split} data has"
                    f" {_shorten(classes)}"
                )


def _classes_by_split(runner: Runner) -> Iterator[tuple[str, tuple[str, ...]]]:
    for split in ("train", "val", "test"):
        loop = getattr(runner, f"_{split}_loop")
        dataset = getattr(getattr(loop, "dataloader", None), "dataset", None)
        classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
        if classes:
            yield split, tuple(classes)


def _shorten(classes: tuple[str, ...], limit: int = 6) -> str:
    return f"({', '.join(classes[:limit])}{', ...' if len(classes) > limit else ''})"
