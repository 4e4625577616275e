"""The rest of a resumed epoch has the batches of an uninterrupted one."""

from __future__ import annotations

from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from solo.engine.loops import SkippableBatches


def batches() -> SkippableBatches:
    return SkippableBatches(BatchSampler(SequentialSampler(range(7)), batch_size=2, drop_last=False))


def test_batches_are_skipped_once() -> None:
    skippable = batches()
    skippable.skip = 2
    assert list(skippable) == [[4, 5], [6]]
    assert list(skippable) == [[0, 1], [2, 3], [4, 5], [6]]
    assert len(skippable) == 4


def test_all_batches_can_be_skipped() -> None:
    skippable = batches()
    skippable.skip = 4
    assert list(skippable) == []


def test_an_unused_iterator_skips_nothing() -> None:
    skippable = batches()
    skippable.skip = 3
    iter(skippable)
    assert list(skippable) == [[6]]


def test_other_attributes_of_the_batch_sampler_are_kept() -> None:
    assert batches().batch_size == 2
    assert isinstance(batches().sampler, SequentialSampler)


def test_in_a_loader_with_workers_that_persist() -> None:
    skippable = batches()
    loader = DataLoader(range(7), batch_sampler=skippable, num_workers=1, persistent_workers=True)
    skippable.skip = 1
    assert [batch.tolist() for batch in loader] == [[2, 3], [4, 5], [6]]
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5], [6]]
