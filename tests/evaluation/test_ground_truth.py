"""What an annotation file gives to compare with, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from solo.evaluation.ground_truth import usable_ground_truth

TWO_PARTS = [[4, 2, 10, 2, 10, 8, 4, 8], [20, 10, 24, 10, 24, 16, 20, 16]]


def usable(*annotations: dict[str, Any], with_masks: bool) -> list[dict[str, Any]]:
    content = dict(images=[dict(id=7, height=20, width=30)], categories=[], annotations=list(annotations))
    found: list[dict[str, Any]] = usable_ground_truth(content, with_masks=with_masks, source="by hand")["annotations"]
    return found


def test_a_missing_box_is_that_of_all_parts_of_the_mask() -> None:
    (found,) = usable(dict(id=3, image_id=7, segmentation=TWO_PARTS), with_masks=False)
    assert found["bbox"] == [4, 2, 20, 14]
    assert found["area"] == 20 * 14
    assert (found["id"], found["iscrowd"]) == (1, 0)


def test_a_missing_area_of_a_mask_is_its_pixels() -> None:
    (found,) = usable(dict(id=0, image_id=7, segmentation=TWO_PARTS, iscrowd=1), with_masks=True)
    assert found["area"] == 6 * 6 + 4 * 6
    assert (found["id"], found["iscrowd"]) == (1, 1)


@pytest.mark.parametrize(
    "unusable",
    [
        dict(bbox=[1, 1, 0, 4]),
        dict(bbox=[1, 1, 4, 0]),
        dict(bbox=[1, 1, 4]),
        dict(bbox=[1, 1, 4, 4], image_id=8),
        dict(segmentation=[[1, 2, 3, 4]]),
        dict(),
    ],
)
def test_unusable_boxes_are_left_out_and_ids_close_ranks(unusable: dict[str, Any]) -> None:
    good = dict(id=5, image_id=7, bbox=[1, 2, 1, 1])
    found = usable({"id": 4, "image_id": 7, **unusable}, good, with_masks=False)
    assert [(entry["id"], entry["bbox"]) for entry in found] == [(1, [1, 2, 1, 1])]
