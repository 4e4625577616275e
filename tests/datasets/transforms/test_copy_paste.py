from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from solo.datasets import CocoInstances, CopyPaste, InstanceMasks, PackSample
from solo.errors import DataError
from solo.masks.mask_windows import unpack_masks
from solo.registry import TRANSFORMS
from tests.helpers.bitmaps import downsample_masks, mass_centers
from tests.helpers.coco_files import annotation, content, write

HEIGHT, WIDTH = 60, 80
LOAD = [dict(type="LoadImage"), dict(type="LoadInstances")]


def results(seed: int, *, count: int) -> dict[str, Any]:
    """An image and objects as bitmaps, of which some are crowds and some lie over each other."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    for mask in masks:
        x, y = rng.integers(0, WIDTH - 8), rng.integers(0, HEIGHT - 8)
        mask[y : y + rng.integers(4, 40), x : x + rng.integers(4, 40)] = 1
        mask &= (rng.random((HEIGHT, WIDTH)) < 0.9).astype(np.uint8)
    bitmaps = BitmapMasks(masks, HEIGHT, WIDTH)
    return dict(
        img=rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        gt_bboxes=HorizontalBoxes(bitmaps.get_bboxes("hbox").tensor),
        gt_bboxes_labels=rng.integers(0, 9, count),
        gt_ignore_flags=rng.random(count) < 0.2,
        gt_masks=bitmaps,
    )


def as_runs(given: dict[str, Any]) -> dict[str, Any]:
    given = copy.deepcopy(given)
    return {**given, "gt_masks": InstanceMasks.from_masks(given["gt_masks"])}


@pytest.mark.parametrize("options", [dict(), dict(selected=False), dict(max_num_pasted=2, bbox_occluded_thr=3)])
@pytest.mark.parametrize("counts", [(5, 4), (0, 3), (3, 0), (1, 1)])
def test_as_mmdet(options: dict[str, Any], counts: tuple[int, int]) -> None:
    reference, ours = TRANSFORMS.build(dict(type="mmdet.CopyPaste", **options)), CopyPaste(pipeline=[], **options)
    for seed in range(20):
        image, other = results(seed, count=counts[0]), results(seed + 100, count=counts[1])
        other["img"] = other["img"][:, ::-1]  # flipped by a view, as mmcv does
        np.random.seed(seed)
        found = ours.paste(as_runs(image), as_runs(other))
        np.random.seed(seed)
        expected = reference({**copy.deepcopy(image), "mix_results": [copy.deepcopy(other)]})
        np.testing.assert_array_equal(found["img"], expected["img"])
        assert found["img"].dtype == np.uint8
        np.testing.assert_array_equal(found["gt_masks"].to_ndarray(), expected["gt_masks"].masks)
        assert torch.equal(found["gt_bboxes"].tensor, expected["gt_bboxes"].tensor)
        for key in ("gt_bboxes_labels", "gt_ignore_flags"):
            np.testing.assert_array_equal(found[key], expected[key])


def test_what_follows_is_exact() -> None:
    """Objects of the two images keep their own sources; resized, flipped and cropped, they equal the bitmaps."""
    steps = [
        TRANSFORMS.build(dict(type="mmdet.Resize", scale=(131, 99), keep_ratio=True)),
        TRANSFORMS.build(dict(type="mmdet.RandomFlip", prob=1.0)),
        TRANSFORMS.build(dict(type="mmdet.RandomCrop", crop_size=(70, 60), allow_negative_crop=True)),
    ]
    image, other = as_runs(results(0, count=5)), as_runs(results(1, count=5))
    other["gt_masks"] = other["gt_masks"].resize((30, 20)).resize((HEIGHT, WIDTH)).flip()
    pasted = CopyPaste(pipeline=[], selected=False).paste(image, other)
    with_bitmaps = {**copy.deepcopy(pasted), "gt_masks": BitmapMasks(pasted["gt_masks"].to_ndarray(), HEIGHT, WIDTH)}
    samples = []
    for given in (pasted, with_bitmaps):
        np.random.seed(3)
        for step in steps:
            given = step(given)
        samples.append(given)
    ours, reference = samples
    bitmaps = torch.from_numpy(reference["gt_masks"].masks.astype(bool))
    kept = bitmaps.flatten(1).any(dim=1) & ~torch.from_numpy(reference["gt_ignore_flags"])
    instances = PackSample()(ours)["data_samples"].gt_instances
    assert torch.equal(unpack_masks([instances.masks], instances.masks.size), downsample_masks(bitmaps[kept]))
    np.testing.assert_array_equal(instances.centers, mass_centers(bitmaps[kept]))


def test_the_given_image_is_not_written() -> None:
    image, other = as_runs(results(0, count=2)), as_runs(results(1, count=2))
    before = image["img"].copy()
    pixels = image["img"]
    CopyPaste(pipeline=[], selected=False).paste(image, other)
    np.testing.assert_array_equal(pixels, before)


# ------------------------------------------------------------------------------------------------------ in a data set
def dataset(folder: Path, **options: Any) -> CocoInstances:
    """Images of one square each; image i is filled with the value i."""
    annotations = [
        annotation(
            i, image_id=i, bbox=[2.0 * i, 2, 6, 6], segmentation=[[2 * i, 2, 2 * i + 6, 2, 2 * i + 6, 8, 2 * i, 8]]
        )
        for i in range(1, 7)
    ]
    if not (folder / "annotations.json").exists():
        write(folder, content(annotations, num_images=6))
    paste = dict(type="CopyPaste", pipeline=options.pop("others", LOAD), selected=False)
    pipeline = [*LOAD, paste, dict(type="mmdet.RandomFlip", prob=0.5), dict(type="PackSample")]
    return CocoInstances(data_root=str(folder), ann_file="annotations.json", pipeline=pipeline, **options)


def test_objects_come_from_the_data_set(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    for index in range(len(data)):
        sample = data[index]
        values = set(sample["inputs"].unique().tolist())
        assert index + 1 in values
        assert len(values) <= 2
        if len(values) == 2:
            assert 1 <= len(sample["data_samples"].gt_instances) <= 2


def test_random_numbers_are_those_of_the_sample(tmp_path: Path) -> None:
    """Seed, epoch and index decide what is pasted, whichever worker does it."""
    data = dataset(tmp_path, seed=4)
    here = [data[index]["inputs"] for index in range(len(data))]
    again = [data[index]["inputs"] for index in reversed(range(len(data)))][::-1]
    loader = DataLoader(data, batch_size=1, num_workers=2, collate_fn=pseudo_collate)
    there = [batch["inputs"][0] for batch in loader]
    for one, two, three in zip(here, again, there, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    data.set_epoch(1)
    assert any(not torch.equal(data[index]["inputs"], image) for index, image in enumerate(here))


def test_nothing_is_pasted_from_an_unreadable_image(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    for number in range(2, 7):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    for epoch in range(5):
        data.set_epoch(epoch)
        assert data[0]["inputs"].unique().tolist() == [1]
    assert data.unreadable == 0


def test_nothing_is_pasted_when_the_other_pipeline_gives_nothing(tmp_path: Path) -> None:
    data = dataset(tmp_path, others=[*LOAD, lambda results: None])
    assert [data[index]["inputs"].unique().tolist() for index in range(6)] == [[i] for i in range(1, 7)]


def test_two_sizes(tmp_path: Path) -> None:
    data = dataset(tmp_path, others=[*LOAD, dict(type="mmdet.Resize", scale=(48, 48), keep_ratio=True)])
    with pytest.raises(DataError, match="24 x 16 pixels, but the other one is 48 x 32"):
        data[0]


def test_without_a_data_set() -> None:
    with pytest.raises(DataError, match="pipeline of CocoInstances"):
        CopyPaste(pipeline=LOAD)(as_runs(results(0, count=1)))


def test_wrong_number() -> None:
    with pytest.raises(DataError, match="max_num_pasted must be at least 1, not 0"):
        CopyPaste(pipeline=LOAD, max_num_pasted=0)
    assert repr(CopyPaste(pipeline=LOAD)) == "CopyPaste(max_num_pasted=100, selected=True)"
