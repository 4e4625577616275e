from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.runner import EpochBasedTrainLoop

from solo.engine.hooks import ClassNamesHook, DatasetEpochHook


@pytest.mark.parametrize(("resumes", "warnings"), [(True, 1), (False, 0)])
def test_checkpoint_with_other_names_warns_unless_it_initializes(resumes: bool, warnings: int) -> None:
    logged: list[str] = []
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=("cat", "dog"))))
    loops = dict(_train_loop=loop, _val_loop=None, _test_loop=None)
    runner: Any = SimpleNamespace(**loops, _resume=resumes, logger=SimpleNamespace(warning=logged.append))
    checkpoint = dict(meta=dict(dataset_meta=dict(classes=("dog", "cat"))))
    ClassNamesHook().after_load_checkpoint(runner, checkpoint)
    assert len(logged) == warnings
    assert all("(dog, cat)" in text and "(cat, dog)" in text for text in logged)
    ClassNamesHook().after_load_checkpoint(runner, dict(meta={}))
    assert len(logged) == warnings


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


def test_datasets_without_seed_and_epoch_are_left_alone() -> None:
    loader = SimpleNamespace(dataset=[1, 2, 3])
    runner: Any = SimpleNamespace(seed=7, epoch=5, train_dataloader=loader)
    DatasetEpochHook().before_train(runner)
    DatasetEpochHook().before_train_epoch(runner)
