from __future__ import annotations

import copy
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from solo.datasets import CocoInstances
from solo.datasets.transforms.packed_instances import PackedInstances
from solo.masks.mask_windows import pack_masks
from tests.helpers.coco_files import annotation, content, write


def instances() -> PackedInstances:
    masks = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    return PackedInstances(
        metainfo=dict(source="x"),
        labels=torch.arange(3),
        bboxes=torch.rand(3, 4),
        masks=pack_masks(masks),
        names=[*"abc"],
    )


def assert_same(one: Any, two: Any) -> None:
    assert type(one) is type(two) is PackedInstances
    assert one.metainfo == two.metainfo
    assert set(one.keys()) == set(two.keys())
    for name in ("labels", "bboxes"):
        assert one[name].dtype == two[name].dtype
        assert torch.equal(one[name], two[name])
    for name in ("windows", "starts", "bits"):
        assert torch.equal(getattr(one.masks, name), getattr(two.masks, name))
    assert one.masks.size == two.masks.size
    assert one.names == two.names


def test_fields_that_are_not_checked() -> None:
    checked = instances()
    unchecked = PackedInstances.of(**dict(checked.items()))
    unchecked.set_metainfo(checked.metainfo)
    assert_same(unchecked, checked)
    with pytest.raises(AssertionError, match="length"):
        unchecked.more = [1, 2]


@pytest.mark.parametrize("part", [slice(None), slice(0, 0), torch.tensor([True, False, True])])
def test_pickle_and_copies(part: Any) -> None:
    given = instances()[part]
    for dumps in (pickle.dumps, ForkingPickler.dumps):
        found = pickle.loads(dumps(given))
        assert_same(found, given)
        found.labels += 1  # its memory is its own, and may be written
    assert_same(copy.deepcopy(given), given)


def test_no_tensor_goes_through_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("a tensor was sent by reference")

    monkeypatch.setitem(ForkingPickler._extra_reducers, torch.Tensor, forbidden)
    ForkingPickler.dumps(instances())


def test_on_a_device_it_is_pickled_as_torch_does() -> None:
    moved = instances().to("meta")
    assert copy.deepcopy(moved).labels.device.type == "meta"
    assert copy.deepcopy(moved).masks.device.type == "meta"


def test_samples_of_a_worker_are_those_of_this_process(tmp_path: Path) -> None:
    write(tmp_path, content([annotation(i, image_id=i) for i in range(1, 4)], num_images=3))
    dataset = CocoInstances(
        data_root=str(tmp_path),
        ann_file="annotations.json",
        pipeline=[dict(type="LoadImage"), dict(type="LoadInstances"), dict(type="PackSample")],
    )
    batches = list(DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate))
    found = [sample for batch in batches for sample in batch["data_samples"]]
    for index, sample in enumerate(found):
        expected = dataset[index]
        given = sample.gt_instances
        assert torch.equal(given.labels, expected["data_samples"].gt_instances.labels)
        assert torch.equal(given.masks.bits, expected["data_samples"].gt_instances.masks.bits)
