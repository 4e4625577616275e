from __future__ import annotations

from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset

from solo.engine.dataset_wrappers import inner_datasets


def test_wrapped_datasets_are_found() -> None:
    parts = [BaseDataset(lazy_init=True), BaseDataset(lazy_init=True)]
    assert list(inner_datasets(parts[0])) == parts[:1]
    assert list(inner_datasets(ConcatDataset(parts, lazy_init=True))) == parts
    assert list(inner_datasets(RepeatDataset(parts[1], times=2, lazy_init=True))) == parts[1:]
