from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from solo.datasets import CocoInstances, UnreadableImageError
from solo.errors import DataError
from solo.masks.mask_windows import unpack_masks
from tests.helpers.coco_files import TRAIN, annotation, build, content, objects
from tests.helpers.odd_files import make_endless, png_bomb

# pycocotools' decoder under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TEST = [dict(type="LoadImage"), dict(type="mmdet.Resize", scale=(48, 32), keep_ratio=True), dict(type="PackSample")]


def test_data_info_is_what_mmdet_expects(tmp_path: Path) -> None:
    info = build(tmp_path, objects(2)).get_data_info(1)
    assert info["img_path"] == str(tmp_path / "2.png")
    assert (info["img_id"], info["height"], info["width"], info["seg_map_path"]) == (2, 16, 24, None)
    assert list(info["instances"]) == [
        dict(bbox=[2, 2, 10, 10], bbox_label=0, ignore_flag=0, mask=annotation(1)["segmentation"])
    ]


@pytest.mark.parametrize("serialize_data", [True, False])
def test_data_info_is_made_anew_each_time(tmp_path: Path, serialize_data: bool) -> None:
    """What a transform does to one has no effect on the next."""
    dataset = build(tmp_path, objects(2), serialize_data=serialize_data)
    expected = build(tmp_path).get_data_info(1)
    for _ in range(2):
        info = dataset.get_data_info(1)
        assert info == expected
        info["instances"][0]["mask"][0][:] = []
        info["instances"].masks.clear()


def test_class_names_travel_in_the_metainfo(tmp_path: Path) -> None:
    dataset = build(tmp_path, objects(1))
    assert dataset.metainfo == dict(classes=("cat", "dog"), category_ids=(1, 7))
    assert build(tmp_path, classes=["cat"]).metainfo == dict(classes=("cat",), category_ids=(1,))
    assert dataset.get_cat_ids(0) == [0]


def test_image_without_objects_is_filtered_and_counted(tmp_path: Path) -> None:
    what = content([annotation(1), annotation(2, image_id=2, iscrowd=1)], num_images=3)
    dataset = build(tmp_path, what)
    assert [dataset.get_data_info(i)["img_id"] for i in range(len(dataset))] == [1]
    assert (dataset.report.images_without_objects, dataset.report.images_filtered) == (2, 2)
    assert len(build(tmp_path, filter_cfg=None)) == 3
    assert len(build(tmp_path, test_mode=True, pipeline=TEST)) == 3


def test_min_size(tmp_path: Path) -> None:
    assert len(build(tmp_path, objects(2), filter_cfg=dict(min_size=16))) == 2
    with pytest.raises(DataError, match="no usable object"):
        build(tmp_path, filter_cfg=dict(min_size=17))


def test_images_without_objects_can_be_trained_on(tmp_path: Path) -> None:
    dataset = build(tmp_path, content([annotation(1)], num_images=2), filter_cfg=None)
    instances = dataset[1]["data_samples"].gt_instances
    assert len(instances) == 0
    assert instances.masks.shape == (0, 8, 12)
    assert instances.bboxes.shape == (0, 4)


@pytest.mark.parametrize("annotations", [[], [annotation(1, iscrowd=1)], [annotation(1, segmentation=None)]])
def test_nothing_to_train_on_is_an_error_but_can_be_tested(tmp_path: Path, annotations: list[Any]) -> None:
    with pytest.raises(DataError, match=r"no usable object to train on(.|\n)*annotations\.json"):
        build(tmp_path, content(annotations), filter_cfg=None)
    assert len(build(tmp_path, test_mode=True, pipeline=TEST)) == 1


def test_unusable_annotations_never_reach_training(tmp_path: Path) -> None:
    bad = [dict(segmentation=None), dict(segmentation=[[1, 1, 2, 2]]), dict(bbox=[1, 1, 0, 0]), dict(category_id=9)]
    annotations = [annotation(1), *(annotation(i + 2, **changes) for i, changes in enumerate(bad))]
    dataset = build(tmp_path, content(annotations))
    assert dataset.report.left_out == 4
    assert len(dataset[0]["data_samples"].gt_instances) == 1


def test_many_objects_in_one_image(tmp_path: Path) -> None:
    dataset = build(tmp_path, content([annotation(i) for i in range(700)]))
    assert len(dataset[0]["data_samples"].gt_instances) == 700


def test_misspelt_filter(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'filter_empty_gt'"):
        build(tmp_path, objects(1), filter_cfg=dict(filter_empty=True))


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images"):
        build(tmp_path, content([], num_images=0))


def test_test_pipeline_carries_no_ground_truth(tmp_path: Path) -> None:
    sample = build(tmp_path, objects(1), test_mode=True, pipeline=TEST)[0]
    assert "gt_instances" not in sample["data_samples"]
    assert sample["data_samples"].img_id == 1
    assert sample["data_samples"].ori_shape == (16, 24)
    assert sample["data_samples"].img_shape == (32, 48)
    assert sample["data_samples"].scale_factor == (2.0, 2.0)


def damage(folder: Path, *image_ids: int) -> None:
    for image_id in image_ids:
        path = folder / f"{image_id}.png"
        path.write_bytes(path.read_bytes()[:-12])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_images_are_skipped_and_counted(tmp_path: Path, num_workers: int) -> None:
    dataset = build(tmp_path, objects(12))
    damage(tmp_path, 3, 8)
    (tmp_path / "5.png").unlink()
    for _ in range(2):
        batches = list(DataLoader(dataset, batch_size=4, num_workers=num_workers, collate_fn=pseudo_collate))
        ids = [sample.img_id for batch in batches for sample in batch["data_samples"]]
        assert len(ids) == 12
        assert set(ids).isdisjoint({3, 5, 8})
        assert dataset.unreadable == 3
        assert dataset.unreadable_images == [str(tmp_path / f"{i}.png") for i in (3, 5, 8)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_too_many_unreadable_images_end_the_run(tmp_path: Path, num_workers: int) -> None:
    dataset = build(tmp_path, objects(8), max_unreadable=1)
    damage(tmp_path, 1, 4)
    with pytest.raises(DataError, match=r"max_unreadable=1(.|\n)*1\.png, .*4\.png"):
        list(DataLoader(dataset, batch_size=8, num_workers=num_workers, collate_fn=pseudo_collate))


def test_negative_number_of_unreadable_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 0, not -1"):
        build(tmp_path, objects(1), max_unreadable=-1)


def test_no_readable_image_at_all(tmp_path: Path) -> None:
    dataset = build(tmp_path, objects(3))
    damage(tmp_path, 1, 2, 3)
    with pytest.raises(DataError, match="no image of"):
        dataset[0]


def test_bombs_pipes_and_devices_are_unreadable_images(tmp_path: Path) -> None:
    dataset = build(tmp_path, objects(8))
    for number in (2, 4, 6):
        (tmp_path / f"{number}.png").unlink()
    (tmp_path / "2.png").write_bytes(png_bomb())
    make_endless(tmp_path / "4.png", "fifo")
    make_endless(tmp_path / "6.png", "device")
    for index in (1, 3, 5):
        assert Path(dataset[index]["data_samples"].img_path).name in ("1.png", "3.png", "5.png", "7.png", "8.png")
    assert dataset.unreadable_images == [str(tmp_path / f"{number}.png") for number in (2, 4, 6)]
    test = build(tmp_path, test_mode=True, pipeline=TEST)
    for index, reason in ((1, "it has 30000 x 30000"), (3, "it is not a regular file"), (5, "it is not a regular")):
        with pytest.raises(UnreadableImageError, match=rf"{index + 1}\.png cannot be read: {reason}"):
            test[index]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_image_under_test_is_an_error(tmp_path: Path, num_workers: int) -> None:
    dataset = build(tmp_path, objects(3), test_mode=True, pipeline=TEST)
    damage(tmp_path, 2)
    with pytest.raises(UnreadableImageError, match=r"2\.png cannot be read"):
        list(DataLoader(dataset, num_workers=num_workers, collate_fn=pseudo_collate))


def flips(dataset: Any, num_workers: int = 0) -> list[bool]:
    loader = DataLoader(dataset, batch_size=4, num_workers=num_workers, collate_fn=pseudo_collate)
    return [sample.flip for batch in loader for sample in batch["data_samples"]]


def test_random_numbers_do_not_depend_on_the_workers_or_on_the_order(tmp_path: Path) -> None:
    dataset = build(tmp_path, objects(32))
    expected = flips(dataset)
    assert True in expected and False in expected
    for num_workers in (1, 2):
        assert flips(dataset, num_workers) == expected
    assert [dataset[i]["data_samples"].flip for i in reversed(range(32))] == expected[::-1]
    assert dataset[-1]["data_samples"].flip == expected[-1]


def test_random_numbers_depend_on_epoch_and_seed(tmp_path: Path) -> None:
    dataset = build(tmp_path, objects(32))
    first = flips(dataset)
    dataset.set_epoch(1)
    second = flips(dataset, num_workers=2)
    assert second != first
    dataset.set_epoch(0)
    assert flips(dataset) == first
    assert flips(build(tmp_path, seed=1)) not in (first, second)


def test_living_workers_see_the_epoch(tmp_path: Path) -> None:
    dataset = build(tmp_path, objects(32))
    loader = DataLoader(dataset, num_workers=1, persistent_workers=True, collate_fn=pseudo_collate)
    first = [batch["data_samples"][0].flip for batch in loader]
    dataset.set_epoch(1)
    second = [batch["data_samples"][0].flip for batch in loader]
    assert second != first
    assert second == flips(dataset)


def test_generators_of_the_process_are_left_as_they_were(tmp_path: Path) -> None:
    dataset = build(tmp_path, objects(2))
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    dataset[0]
    assert (random.random(), np.random.rand()) == expected


def test_index_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        build(tmp_path, objects(2))[2]


def oracle_masks(info: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Stride-4 masks of the ordinary objects by cv2, from the annotation itself."""
    shrunk = []
    for instance in info["instances"]:
        if instance["ignore_flag"]:
            continue
        encoded = instance["mask"]
        if isinstance(encoded, list):
            encoded = coco_mask.merge(coco_mask.frPyObjects(encoded, info["height"], info["width"]))
        mask = coco_mask.decode(encoded)
        if mask.any():
            height, width = (-(-side // 4) * 4 for side in size)
            padded = np.zeros((height, width), np.uint8)
            padded[: size[0], : size[1]] = mask
            shrunk.append(cv2.resize(padded, (width // 4, height // 4), interpolation=cv2.INTER_LINEAR))
    return np.array(shrunk, dtype=bool).reshape(-1, -(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.parametrize(
    ("name", "ann_file", "images"),
    [
        ("nuclei256", "annotations/instances_val.json", "val/"),
        ("coco_mini", "annotations/instances_train2017.json", "train2017/"),
    ],
)
def test_real_data(shared_data: Path, name: str, ann_file: str, images: str) -> None:
    dataset = CocoInstances(
        data_root=str(shared_data / name),
        ann_file=ann_file,
        data_prefix=dict(img=images),
        pipeline=[TRAIN[0], TRAIN[1], TRAIN[-1]],
    )
    for index in range(len(dataset)):
        info, sample = dataset.get_data_info(index), dataset[index]
        size = sample["inputs"].shape[1:]
        assert size == (info["height"], info["width"])
        instances = sample["data_samples"].gt_instances
        masks = unpack_masks([instances.masks], instances.masks.size)
        np.testing.assert_array_equal(masks.numpy(), oracle_masks(info, tuple(size)))
        assert np.isfinite(instances.centers).all()
    assert dataset.unreadable == 0
