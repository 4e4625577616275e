"""What the commands' tests do not reach of the hooks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.runner import EpochBasedTrainLoop

from solo.engine.dataset_wrappers import inner_datasets
from solo.engine.hooks import ClassNamesHook, DatasetEpochHook, HostMemoryHook
from solo.engine.hooks.host_memory import peak_memory_mb
from solo.registry import HOOKS


class EpochDataset(BaseDataset):
    """Remembers the epochs it was told."""

    def __init__(self) -> None:
        super().__init__(lazy_init=True)
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


class FourBatches:
    """A loader of four batches."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return 4


def fake_runner(dataset: Any, *, loop_class: type, epoch: int = 0, iteration: int = 0) -> Any:
    return SimpleNamespace(
        epoch=epoch,
        iter=iteration,
        train_dataloader=FourBatches(dataset),
        train_loop=loop_class.__new__(loop_class),
    )


def test_wrapped_datasets_are_found() -> None:
    parts = [EpochDataset(), EpochDataset()]
    assert list(inner_datasets(parts[0])) == parts[:1]
    assert list(inner_datasets(ConcatDataset(parts, lazy_init=True))) == parts
    assert list(inner_datasets(RepeatDataset(parts[1], times=2, lazy_init=True))) == parts[1:]


def test_epoch_reaches_wrapped_datasets() -> None:
    dataset = EpochDataset()
    runner = fake_runner(RepeatDataset(dataset, times=2, lazy_init=True), loop_class=EpochBasedTrainLoop, epoch=5)
    hook = DatasetEpochHook()
    hook.before_train_epoch(runner)
    assert dataset.epochs == [5]


def test_peak_memory_grows_with_use() -> None:
    before = peak_memory_mb()
    block = np.ones(2**26, dtype=np.uint8) * np.uint8(3)
    assert 10 < before <= peak_memory_mb() < 2**20
    assert block[-1] == 3


def test_memory_is_recorded_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: dict[str, float] = {}
    runner: Any = SimpleNamespace(message_hub=SimpleNamespace(update_scalar=recorded.__setitem__))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    HostMemoryHook().after_train_iter(runner, 0)
    assert recorded["train/memory_mb"] > 10
    recorded.clear()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    HostMemoryHook().after_train_iter(runner, 0)
    assert recorded == {}


@pytest.mark.parametrize(("resumes", "warnings"), [(True, 1), (False, 0)])
def test_checkpoint_with_other_names_warns_unless_it_initializes(
    monkeypatch: pytest.MonkeyPatch, resumes: bool, warnings: int
) -> None:
    logged: list[str] = []
    monkeypatch.setattr("solo.engine.hooks.class_names.print_log", lambda text, **_: logged.append(text))
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=("cat", "dog"))))
    runner: Any = SimpleNamespace(_train_loop=loop, _val_loop=None, _test_loop=None, _resume=resumes)
    checkpoint = dict(meta=dict(dataset_meta=dict(classes=("dog", "cat"))))
    ClassNamesHook().after_load_checkpoint(runner, checkpoint)
    assert len(logged) == warnings
    assert all("(dog, cat)" in text and "(cat, dog)" in text for text in logged)
    ClassNamesHook().after_load_checkpoint(runner, dict(meta={}))
    assert len(logged) == warnings


@pytest.mark.parametrize(
    "name",
    ["ClassNamesHook", "CurvesHook", "DatasetEpochHook", "HostMemoryHook", "PicturesHook", "UnreadableImagesHook"],
)
def test_registered(name: str) -> None:
    assert HOOKS.get(name).__name__ == name
