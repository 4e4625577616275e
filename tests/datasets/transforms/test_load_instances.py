from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from solo.datasets import CocoInstances, InstanceMasks, LoadInstances
from solo.errors import DataError
from solo.registry import TRANSFORMS
from tests.helpers.coco_files import SQUARE

PEER = dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True)


def instance(**changes: Any) -> dict[str, Any]:
    return dict(bbox=[2.0, 2.0, 10.0, 10.0], bbox_label=1, ignore_flag=0, mask=SQUARE) | changes


def load(*instances: dict[str, Any], by: Any = None) -> dict[str, Any]:
    given = dict(ori_shape=(16, 24), img_path="a.png", instances=list(instances))
    return (by or LoadInstances())(copy.deepcopy(given))


def assert_same(ours: dict[str, Any], reference: dict[str, Any]) -> None:
    assert ours["gt_bboxes"].tensor.dtype == reference["gt_bboxes"].tensor.dtype
    assert torch.equal(ours["gt_bboxes"].tensor, reference["gt_bboxes"].tensor)
    for key in ("gt_bboxes_labels", "gt_ignore_flags"):
        assert ours[key].dtype == reference[key].dtype
        np.testing.assert_array_equal(ours[key], reference[key])
    np.testing.assert_array_equal(ours["gt_masks"].to_ndarray(), reference["gt_masks"].masks)


def test_contract() -> None:
    results = load(instance(), instance(bbox_label=0, ignore_flag=1, mask=dict(size=[16, 24], counts=[34, 8, 342])))
    assert isinstance(results["gt_bboxes"], HorizontalBoxes)
    assert isinstance(results["gt_masks"], InstanceMasks)
    assert results["gt_bboxes_labels"].tolist() == [1, 0]
    assert results["gt_ignore_flags"].tolist() == [False, True]
    assert results["gt_masks"].areas.tolist() == [64, 8]


@pytest.mark.parametrize(
    "instances",
    [
        [],
        [instance(), instance(mask=dict(size=[16, 24], counts=[34, 8, 342]), ignore_flag=1)],
        # Without a usable mask: ignored, but the boxes stay.
        [instance(mask=[[1.0, 1.0, 2.0, 2.0]]), instance(), instance(mask=[])],
        [instance(mask=[[1.0, 1.0, 2.0, 2.0], SQUARE[0], [*SQUARE[0], 1.0]])],
        [
            instance(mask=dict(size=[16, 24])),
            instance(mask=dict(counts="1")),
            instance(mask=dict(size=[16, 24], counts=1.5)),
        ],
        [instance(bbox=[1, 2, 3, 4])],
    ],
)
def test_as_mmdet(instances: list[dict[str, Any]]) -> None:
    assert_same(load(*instances), load(*instances, by=TRANSFORMS.build(PEER)))


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (dict(size=[16, 24], counts=[3, 5]), "another size"),
        (dict(size=[16, 24], counts="1"), "another size"),
        (dict(size=[24, 16], counts=[34, 8, 342]), "another size"),
        (dict(size=[16, 24], counts="\x7f"), "neither polygons nor RLE"),
        (dict(size=[16, 24], counts=b"1o"), "neither polygons nor RLE"),
        (dict(size=[16, 24], counts=[400, -16]), "neither polygons nor RLE"),
    ],
)
def test_unusable_rle(rle: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"image a\.png \(24 x 16 pixels\).*{message}"):
        load(instance(), instance(mask=rle))


def test_unusable_polygon() -> None:
    """Of data sets that do not check theirs, as `CocoInstances` does."""
    far, missing = "polygon with a point more than", "polygon with a coordinate that is not a number"
    for value, message in ((float("nan"), missing), (float("inf"), far), (1e9, far), ("x", "segmentation is neither")):
        with pytest.raises(DataError, match=rf"image a\.png \(24 x 16 pixels\): {message}"):
            load(instance(), instance(mask=[[value, *SQUARE[0][1:]]]))


def test_polygons_and_rles_of_one_image_keep_their_order() -> None:
    rle, text = dict(size=[16, 24], counts=[34, 8, 342]), dict(size=[16, 24], counts="R18f:")
    kinds = [rle, SQUARE, text, [[0, 0, 5, 0, 5, 3, 0, 3]], rle]
    instances = [instance(mask=mask) for mask in kinds]
    assert_same(load(*instances), load(*instances, by=TRANSFORMS.build(PEER)))


def test_real_annotations(shared_data: Path) -> None:
    """Polygons, crowds and all: as mmdet reads them."""
    dataset = CocoInstances(
        data_root=str(shared_data / "coco_mini"),
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
    )
    reference = TRANSFORMS.build(PEER)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        info["ori_shape"] = info["height"], info["width"]
        assert_same(LoadInstances()(copy.deepcopy(info)), reference(copy.deepcopy(info)))
