from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solo.datasets.coco.annotation_rules import (
    COUNTS_AS_BYTES,
    MALFORMED_BOX,
    MALFORMED_CROWD_FLAG,
    NO_SEGMENTATION,
    REPEATED_ID,
    UNKNOWN_CATEGORY,
    UNKNOWN_IMAGE,
    UNREADABLE_AREA,
)
from solo.datasets.coco.annotation_table import OUTSIDE, ZERO_AREA
from solo.datasets.coco.annotations import check_coco_file, read_annotations
from solo.datasets.coco.polygons import POINT_LISTS
from solo.datasets.coco.report import CLIPPED
from solo.errors import DataError
from solo.masks.segmentations import EMPTY, FAR_POLYGON, MALFORMED, NAN_POLYGON, OTHER_SIZE, SHORT_POLYGON
from tests.helpers.coco_files import SQUARE, annotation, content, write


def rle(height: int = 16, width: int = 24) -> dict[str, Any]:
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[2:10, 2:10] = 1
    encoded = coco_mask.encode(mask)
    return dict(size=encoded["size"], counts=encoded["counts"].decode())


POINTS = [[2.0, 2.0], [10.0, 2.0], [10.0, 10.0], [2.0, 10.0]]
BAD = [
    (dict(segmentation=None), NO_SEGMENTATION),
    (dict(segmentation=[]), NO_SEGMENTATION),
    (dict(segmentation=[[]]), SHORT_POLYGON),
    (dict(segmentation=[[1.0, 1.0, 5.0, 5.0]]), SHORT_POLYGON),
    (dict(segmentation=[[1.0, 1.0, 5.0, 5.0, 5.0, 1.0, 3.0]]), SHORT_POLYGON),
    (dict(segmentation=[["a"] * 6]), f"{MALFORMED} (found: lists nested 2 deep, of text)"),
    (dict(segmentation="polygon"), f"{MALFORMED} (found: text)"),
    (dict(segmentation=[[[1, 2, 3]] * 3]), f"{MALFORMED} (found: lists nested 3 deep, of number)"),
    (
        dict(segmentation=[[2.0, 2.0, True, 2.0, 10.0, 10.0]]),
        f"{MALFORMED} (found: lists nested 2 deep, of number, true or false)",
    ),
    (dict(segmentation=[[[1, 2], [3, 4]]]), SHORT_POLYGON),
    (dict(segmentation=dict(counts=[34, 8, 342])), f"{MALFORMED} (found: object)"),
    (dict(segmentation=dict(size=[16, 24])), MALFORMED),
    (dict(segmentation=dict(size=[16, 24], counts="b'")), MALFORMED),
    (dict(segmentation=dict(size=[16, 24], counts="b'\\xff'")), MALFORMED),
    (dict(segmentation=dict(size=[16, 24], counts=[-1, 385])), MALFORMED),
    (dict(segmentation=rle(17, 24)), OTHER_SIZE),
    (dict(segmentation=dict(size=[16, 24], counts=rle(32, 24)["counts"])), OTHER_SIZE),
    (dict(segmentation=dict(size=[16, 24], counts=[3, 5])), OTHER_SIZE),
    (dict(segmentation=dict(size=[16, 24], counts=rle()["counts"][:-1] + "\x7f")), MALFORMED),
    (dict(bbox=[2, 2, 0, 8]), ZERO_AREA),
    (dict(bbox=[2, 2, 8, -1]), ZERO_AREA),
    (dict(bbox=[2, 2, float("nan"), 8]), ZERO_AREA),
    (dict(bbox=[2, 2, 8]), MALFORMED_BOX),
    (dict(bbox=[24, 2, 8, 8]), OUTSIDE),
    (dict(bbox=[-9, 2, 8, 8]), OUTSIDE),
    (dict(category_id=3), UNKNOWN_CATEGORY),
    (dict(category_id=[1]), UNKNOWN_CATEGORY),
    (dict(image_id=99), UNKNOWN_IMAGE),
    (dict(image_id={}), UNKNOWN_IMAGE),
    (dict(bbox=[2, 2, 10**400, 8]), MALFORMED_BOX),
    (dict(bbox="2288"), MALFORMED_BOX),
    (dict(segmentation=[[2.0, 2.0, float("nan"), 2.0, 10.0, 10.0]]), NAN_POLYGON),
    (dict(segmentation=[[2.0, 2.0, 1e9, 2.0, 10.0, 10.0]]), FAR_POLYGON),
    (dict(segmentation=[[2.0, 2.0, 10**400, 2.0, 10.0, 10.0]]), FAR_POLYGON),
    (dict(segmentation=[[2.0, 2.0, float("inf"), 2.0, 10.0, 10.0]]), FAR_POLYGON),
    (dict(segmentation=[[30.0, 2.0, 60.0, 2.0, 60.0, 10.0]]), EMPTY),
    (dict(segmentation=[[2.0, 2.0, 10.0, 10.0, 2.0, 2.0, 10.0, 10.0]]), EMPTY),
    (dict(segmentation=[[5.0, 5.0] * 8], iscrowd=1), EMPTY),
    (dict(segmentation=dict(size=[16, 24], counts=[16 * 24])), EMPTY),
    (dict(segmentation=dict(size=[16, 24], counts=[10**400, 5])), OTHER_SIZE),
    (dict(bbox=None, segmentation=[[30.0, 2.0, 60.0, 2.0, 60.0, 10.0]]), EMPTY),
    (dict(iscrowd="perhaps"), MALFORMED_CROWD_FLAG),
    (dict(iscrowd=2), MALFORMED_CROWD_FLAG),
    (dict(iscrowd=float("nan")), MALFORMED_CROWD_FLAG),
    (dict(iscrowd=[]), MALFORMED_CROWD_FLAG),
    (dict(iscrowd={}), MALFORMED_CROWD_FLAG),
]


@pytest.mark.parametrize(("changes", "kind"), BAD)
def test_unusable_annotation_is_left_out_and_reported(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    bad = annotation(55, **changes)
    checked = read_annotations(write(tmp_path, content([annotation(1), bad])))
    assert checked.report.problems == {kind: [bad["id"]]}
    assert (checked.report.used, checked.report.left_out) == (1, 1)
    assert len(checked.annotated[1].instances) == 1
    assert f"1 left out, {kind}: annotation {bad['id']}" in str(checked.report)


@pytest.mark.parametrize(("changes", "kind"), BAD)
def test_evaluation_keeps_what_has_no_pixel_or_a_box_that_covers_nothing(
    tmp_path: Path, changes: dict[str, Any], kind: str
) -> None:
    bad = annotation(55, **changes)
    box = bad.get("bbox", [0.0] * 4)
    is_kept = kind in (EMPTY, ZERO_AREA, OUTSIDE) and bool(np.isfinite(box).all()) and min(box[2:]) >= 0
    checked = read_annotations(write(tmp_path, content([annotation(1), bad])), for_evaluation=True)
    assert checked.report.problems == ({} if is_kept else {kind: [bad["id"]]})
    assert checked.report.repairs == ({kind: [bad["id"]]} if is_kept else {})
    assert checked.annotated[1].measures()[1:, :4].tolist() == ([box] if is_kept else [])


@pytest.mark.parametrize(
    "segmentation",
    [SQUARE, SQUARE[0], [*SQUARE, [1.0, 1.0]], rle(), dict(size=[16, 24], counts=[34, 8, 342])],
    ids=["polygon", "bare polygon", "one short part", "compressed", "uncompressed"],
)
@pytest.mark.parametrize("is_crowd", [0, 1])
def test_usable_segmentations(tmp_path: Path, segmentation: Any, is_crowd: int) -> None:
    path = write(tmp_path, content([annotation(1, segmentation=segmentation, iscrowd=is_crowd)]))
    checked = read_annotations(path)
    (instance,) = checked.annotated[1].instances
    assert instance["ignore_flag"] == is_crowd
    assert instance["bbox"] == [2, 2, 10, 10]
    assert isinstance(instance["mask"], dict) or all(
        isinstance(part, list) and len(part) >= 6 for part in instance["mask"]
    )
    assert (checked.report.used, checked.report.crowds) == (1 - is_crowd, is_crowd)
    assert checked.report.images_without_objects == is_crowd


@pytest.mark.parametrize("segmentation", [SQUARE, rle(), dict(size=[16, 24], counts=[34, 8, 342])])
def test_missing_box_is_computed(tmp_path: Path, segmentation: Any) -> None:
    checked = read_annotations(write(tmp_path, content([annotation(1, bbox=None, segmentation=segmentation)])))
    expected = [2, 2, 3, 10] if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list) else None
    assert checked.annotated[1].instances[0]["bbox"] == (expected or [2, 2, 10, 10])


def test_box_over_the_border_is_clipped(tmp_path: Path) -> None:
    boxes = [[-4, -4, 10, 10], [20, 12, 100, 100], [0, 0, 24.4, 16.3]]
    checked = read_annotations(write(tmp_path, content([annotation(i, bbox=box) for i, box in enumerate(boxes)])))
    assert [i["bbox"] for i in checked.annotated[1].instances] == [
        [0, 0, 6, 6],
        [20, 12, 24, 16],
        [0, 0, 24, 16],
    ]
    assert checked.report.repairs == {CLIPPED: [0, 1]}
    assert "2 used, box clipped to the image: annotation 0, 1" in str(checked.report)


def test_classes_are_sorted_by_category_id(tmp_path: Path) -> None:
    path = write(tmp_path, content([annotation(1), annotation(2, category_id=7)]))
    checked = read_annotations(path)
    assert (checked.classes, checked.category_ids) == (("cat", "dog"), (1, 7))
    assert [i["bbox_label"] for i in checked.annotated[1].instances] == [0, 1]


def test_chosen_classes_keep_their_order_and_leave_out_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, content([annotation(1), annotation(2, category_id=7)]))
    assert read_annotations(path, classes=["dog", "cat"]).category_ids == (7, 1)
    checked = read_annotations(path, classes=["dog"])
    assert checked.report.other_classes == 1
    assert checked.report.left_out == 0
    assert [i["bbox_label"] for i in checked.annotated[1].instances] == [0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["dogs"], "no class 'dogs' (did you mean 'dog'?)"),
        ([], "at least one"),
        (["cat", "cat"], "different"),
        ("cat", "list"),
    ],
)
def test_wrong_classes(tmp_path: Path, classes: Any, message: str) -> None:
    path = write(tmp_path, content([annotation(1)]))
    with pytest.raises(DataError) as caught:
        read_annotations(path, classes=classes)
    assert message in str(caught.value)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in content([annotation(1)]).items() if name != key}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ([], "expected an object"),
        (without("images"), "no key 'images'"),
        (without("categories"), "no key 'categories'"),
        ({**content([]), "annotations": {}}, "'annotations' must be a list"),
        ({**content([]), "annotations": [1]}, "'annotations' must be a list of objects"),
        ({**content([]), "categories": []}, "no categories"),
        ({**content([]), "categories": [dict(id=1)]}, "needs 'id' and 'name'"),
        ({**content([]), "categories": [dict(id=1, name="a"), dict(id=1, name="b")]}, "same id"),
        ({**content([]), "images": [dict(id=1, file_name="1.png", height=4, width=4)] * 2}, "two images have the id 1"),
        ({**content([]), "images": [dict(id=1, file_name="1.png", height=0, width=4)]}, "height 0"),
        ({**content([]), "images": [dict(id=1, file_name="1.png", height=2**21, width=4)]}, "height 2097152"),
        (
            {**content([]), "images": [dict(id=[1], file_name="1.png", height=4, width=4)]},
            "expected a text, and a number",
        ),
        ({**content([]), "images": [dict(id=1, file_name=5, height=4, width=4)]}, "file_name 5"),
        ({**content([]), "categories": [dict(id="a", name="b")]}, "needs 'id' and 'name'"),
    ],
)
def test_unusable_file_is_an_error_that_names_it(tmp_path: Path, what: Any, message: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(what))
    with pytest.raises(DataError, match=r"annotations\.json") as caught:
        check_coco_file(path)
    assert message in str(caught.value)


def test_image_without_a_size(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({**content([]), "images": [dict(id=5, file_name="1.png", height=4)]}))
    with pytest.raises(DataError, match="image 5 has no 'width'"):
        check_coco_file(path)


def test_missing_file_suggests_the_near_name(tmp_path: Path) -> None:
    write(tmp_path, content([]), name="instances_val.json")
    with pytest.raises(DataError, match=r"did you mean 'instances_val\.json'"):
        check_coco_file(tmp_path / "instance_val.json")


def test_not_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json is not JSON"):
        check_coco_file(tmp_path / "a.json")


def test_report_shows_some_examples_only(tmp_path: Path) -> None:
    path = write(tmp_path, content([annotation(i, segmentation=None) for i in range(1, 30)]))
    assert "29 left out, without segmentation: annotation 1, 2, 3, 4, 5, ..." in str(check_coco_file(path))


def test_real_files_have_no_problem(shared_data: Path) -> None:
    for name in ("coco_mini/annotations/instances_train2017.json", "nuclei256/annotations/instances_train.json"):
        report = check_coco_file(shared_data / name)
        assert report.left_out == 0
        assert report.used + report.crowds == report.annotations > 800


def test_boxes_of_corners_are_doubted(tmp_path: Path) -> None:
    corners = [annotation(i, bbox=[15.0, 9.0, 23.0, 15.0]) for i in range(3)]
    assert "is each bbox [x, y, width, height]" in str(check_coco_file(write(tmp_path, content(corners))))
    mixed = corners[:1] + [annotation(i) for i in range(1, 3)]
    assert "is each bbox" not in str(check_coco_file(write(tmp_path, content(mixed))))


def test_a_name_of_several_categories_cannot_be_asked_for(tmp_path: Path) -> None:
    annotations = [annotation(1), annotation(2, category_id=7)]
    what = content(annotations) | dict(categories=[dict(id=1, name="cat"), dict(id=7, name="cat")])
    path = write(tmp_path, what)
    with pytest.raises(DataError, match=r"'cat' is the name of several categories, \[1, 7\]"):
        read_annotations(path, classes=["cat"])
    with pytest.raises(DataError, match=r"list of different names, at least one, not \[1\]"):
        read_annotations(path, classes=[1])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        (dict(id=1), REPEATED_ID),
        (dict(area="large"), UNREADABLE_AREA),
        (dict(area=float("nan")), UNREADABLE_AREA),
        (dict(area=-3), UNREADABLE_AREA),
        (dict(area=[]), UNREADABLE_AREA),
        (dict(segmentation=[POINTS]), POINT_LISTS),
        (dict(segmentation=POINTS), POINT_LISTS),
        (dict(segmentation=rle() | dict(counts=str(rle()["counts"].encode()))), COUNTS_AS_BYTES),
    ],
)
def test_repaired_annotation_is_used_and_reported(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    repaired = annotation(55, **changes)
    checked = read_annotations(write(tmp_path, content([annotation(1), repaired])))
    assert checked.report.repairs == {kind: [repaired["id"]]}
    assert (checked.report.used, checked.report.left_out) == (2, 0)
    assert f"1 used, {kind}: annotation {repaired['id']}" in str(checked.report)
    assert checked.annotated[1].measures()[:, 4].tolist() == [64, 64]
    first, second = checked.annotated[1].instances
    assert isinstance(second["mask"], dict) or first["mask"] == second["mask"]


def test_ids_play_no_part(tmp_path: Path) -> None:
    annotations = [annotation(1, id=annotation_id) for annotation_id in ([7], [7], {}, None, None, "a", 0.5)]
    report = check_coco_file(write(tmp_path, content(annotations)))
    assert (report.used, report.problems, report.repairs) == (7, {}, {})


@pytest.mark.parametrize(
    ("value", "is_crowd"),
    [
        (None, 0),
        (False, 0),
        ("0", 0),
        ("", 0),
        (" False ", 0),
        (0.0, 0),
        ([0], 0),
        (True, 1),
        ("1", 1),
        ("1.0", 1),
        (1.0, 1),
    ],
)
def test_forms_of_the_crowd_flag(tmp_path: Path, value: Any, is_crowd: int) -> None:
    report = check_coco_file(write(tmp_path, content([annotation(1) | dict(iscrowd=value)])))
    assert (report.used, report.crowds, report.problems) == (1 - is_crowd, is_crowd, {})


@pytest.mark.parametrize("value", [50.25, "50.25", [50.25], [["50.25"]], {"$numberDouble": "50.25"}])
def test_forms_of_the_area(tmp_path: Path, value: Any) -> None:
    checked = read_annotations(write(tmp_path, content([annotation(1, area=value)])))
    assert checked.annotated[1].measures()[0, 4] == 50.25
    assert checked.report.repairs == {}


def test_file_of_images_alone(tmp_path: Path) -> None:
    for what in (without("annotations"), content([]) | dict(annotations=None)):
        report = check_coco_file(write(tmp_path, what))
        assert (report.images, report.images_without_objects, report.used) == (1, 1, 0)
        assert "no key 'annotations'; the file has ['" in str(report)


def test_a_category_without_annotations_yields_its_name(tmp_path: Path) -> None:
    names = [dict(id=0, name="cat", supercategory="none"), dict(id=7, name="dog"), dict(id=1, name="cat")]
    used = content([annotation(1), annotation(2, category_id=7)]) | dict(categories=names)
    for what in (used, content([]) | dict(categories=names)):
        path = write(tmp_path, what)
        for classes in (None, ["cat", "dog"]):
            checked = read_annotations(path, classes=classes)
            assert (checked.classes, checked.category_ids) == (("cat", "dog"), (1, 7))
            assert "category 0 ignored: no annotation, and 'cat' is another one's name" in str(checked.report)


def test_both_categories_of_a_name_are_used_when_both_have_annotations(tmp_path: Path) -> None:
    names = [dict(id=0, name="cat"), dict(id=1, name="cat"), dict(id=2, name="cat")]
    what = content([annotation(1), annotation(2, category_id=2)]) | dict(categories=names)
    checked = read_annotations(write(tmp_path, what))
    assert (checked.classes, checked.category_ids) == (("cat", "cat"), (1, 2))


@pytest.mark.parametrize("was_enabled", [True, False])
def test_garbage_collection_is_as_before(tmp_path: Path, was_enabled: bool) -> None:
    try:
        gc.enable() if was_enabled else gc.disable()
        check_coco_file(write(tmp_path, content([annotation(1)])))
        assert gc.isenabled() == was_enabled
        with pytest.raises(DataError):
            check_coco_file(tmp_path / "nowhere.json")
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()
