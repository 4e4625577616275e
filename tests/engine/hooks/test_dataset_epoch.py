from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mmengine.dataset import BaseDataset, RepeatDataset

from solo.engine.hooks import DatasetEpochHook


class RecordingDataset(BaseDataset):
    """Remembers the seed and the epochs it was told."""

    def __init__(self) -> None:
        super().__init__(lazy_init=True)
        self.seed = 0
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def test_seed_and_epoch_reach_wrapped_datasets() -> None:
    dataset = RecordingDataset()
    loader = SimpleNamespace(dataset=RepeatDataset(dataset, times=2, lazy_init=True))
    runner: Any = SimpleNamespace(seed=7, epoch=5, train_dataloader=loader)
    hook = DatasetEpochHook()
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    assert dataset.seed == 7
    assert dataset.epochs == [5]


def test_datasets_that_draw_nothing_are_left_alone() -> None:
    loader = SimpleNamespace(dataset=[1, 2, 3])
    runner: Any = SimpleNamespace(seed=7, epoch=5, train_dataloader=loader)
    DatasetEpochHook().before_train(runner)
    DatasetEpochHook().before_train_epoch(runner)
