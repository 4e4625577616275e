"""Instances: selection and conversions, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from solo.errors import OutputError
from solo.inference.instances import Instances
from solo.masks.rle import encode_masks

SIZE = (20, 30)
CLASSES = ("cell", "dot", "ring")


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


MASKS = np.stack([square(2, 3, 10) & ~square(4, 5, 3), square(5, 10, 6), np.zeros(SIZE, bool)])


def three(**changes: Any) -> Instances:
    fields: dict[str, Any] = dict(
        labels=[2, 0, 1],
        scores=[0.9, 0.8, 0.1],
        boxes=[[3, 2, 13, 12], [10, 5, 16, 11], [0, 0, 0, 0]],
        rles=encode_masks(MASKS),
        image_size=SIZE,
        classes=CLASSES,
    )
    return Instances(**{**fields, **changes})


def none() -> Instances:
    return three(labels=[], scores=[], boxes=[], rles=[])


def test_fields_have_their_types() -> None:
    for instances in (three(), none()):
        assert (instances.labels.dtype, instances.scores.dtype, instances.boxes.dtype) == (np.int64, *[np.float32] * 2)
        assert instances.boxes.shape == (len(instances), 4)
    with pytest.raises(FrozenInstanceError):
        three().labels = np.zeros(3)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(0), [0]),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        ([], []),
        ([True, False, True], [0, 2]),
        (np.array([False, False, False]), []),
        (torch.tensor([2, 1]), [2, 1]),
    ],
)
def test_selection(index: Any, rows: list[int]) -> None:
    chosen = three()[index]
    assert chosen.labels.tolist() == [three().labels[row] for row in rows]
    assert chosen.boxes.shape == (len(rows), 4)
    np.testing.assert_array_equal(chosen.to_bool(), MASKS[rows])


@pytest.mark.parametrize("index", [3, -4, [0, 3], [True, False]])
def test_an_index_beyond_the_instances(index: Any) -> None:
    with pytest.raises(IndexError):
        three()[index]


def test_iteration_gives_rows() -> None:
    assert [row.labels.tolist() for row in three()] == [[2], [0], [1]]
    assert list(none()) == []


def test_masks_and_areas() -> None:
    np.testing.assert_array_equal(three().to_bool(), MASKS)
    assert three().areas.tolist() == [91, 36, 0]
    assert none().to_bool().shape == (0, *SIZE)
    assert none().areas.tolist() == []


def test_label_map_gives_shared_pixels_to_the_higher_score() -> None:
    expected = np.where(MASKS[0], 1, np.where(MASKS[1], 2, 0))
    for instances, numbers in ((three(), expected), (three()[[1, 0]], np.array([0, 2, 1])[expected])):
        np.testing.assert_array_equal(instances.label_map(), numbers.astype(np.int32), strict=True)


def test_polygons_keep_holes() -> None:
    rings = three().polygons()
    assert [[ring.is_hole for ring in each] for each in rings] == [[False, True], [False], []]
    assert rings[1][0].points.tolist() == [[10, 5], [16, 5], [16, 11], [10, 11]]


def test_coco_annotations() -> None:
    first, *_, last = three().to_coco(image_id=7, category_ids=[1, 5, 9], first_id=4)
    assert (first["id"], first["image_id"], first["category_id"], last["id"], last["category_id"]) == (4, 7, 9, 6, 5)
    assert (first["bbox"], first["area"], first["iscrowd"]) == ([3, 2, 10, 10], 91, 0)
    assert first["score"] == pytest.approx(0.9)
    assert json.loads(json.dumps(first)) == first
    np.testing.assert_array_equal(mask_api.decode(first["segmentation"]), MASKS[0])


def test_a_saved_file_is_read_by_pycocotools(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    three().save(path, file_name="a.png", image_id=3)
    truth = COCO(str(path))
    assert truth.loadImgs(3) == [dict(id=3, file_name="a.png", width=30, height=20)]
    assert [category["name"] for category in truth.loadCats([1, 2, 3])] == list(CLASSES)
    np.testing.assert_array_equal(truth.annToMask(truth.loadAnns([2])[0]), MASKS[1])
    results = truth.loadRes(three().to_coco(image_id=3))
    assert [entry["score"] for entry in results.loadAnns([1, 2])] == pytest.approx([0.9, 0.8])


def test_files_that_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"found\.csv.*\.json"):
        three().save(tmp_path / "found.csv")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/found\.json cannot be written"):
        three().save(tmp_path / "file" / "found.json")


def test_saving_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "found.json").symlink_to(tmp_path / "precious")
    for _ in range(2):
        three().save(tmp_path / "found.json")
    assert (tmp_path / "precious").read_text() == "kept"
    assert json.loads((tmp_path / "found.json").read_text())["images"]


def test_supervision_gets_the_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.SimpleNamespace(Detections=types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, "supervision", package)
    detections = three().to_supervision()
    np.testing.assert_array_equal(detections.mask, MASKS, strict=True)
    assert detections.xyxy.shape == (3, 4)
    assert detections.class_id.tolist() == [2, 0, 1]
    assert detections.confidence.tolist() == three().scores.tolist()
    assert detections.data["class_name"].tolist() == ["ring", "cell", "dot"]


def test_missing_supervision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        three().to_supervision()


def test_plot_draws_what_draw_instances_draws() -> None:
    image = np.full((*SIZE, 3), 90, np.uint8)
    drawn = three().plot(image, draw_labels=False)
    assert (drawn != image).any(axis=2)[MASKS[1]].all()
    assert (drawn[15:] == image[15:]).all()


def test_it_prints_its_counts() -> None:
    assert repr(three()[[0, 0, 1]]) == "Instances(1 cell, 2 ring; 20 x 30 pixels)"
    assert repr(none()) == "Instances(none; 20 x 30 pixels)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(labels=[0, 1]), r"one row for each instance, got .*'labels': 2, 'scores': 3"),
        (dict(labels=[0, 1, 3]), r"labels reach 0\.\.3, but there are 3 class names"),
        (dict(labels=[0, -1, 2]), r"labels reach -1\.\.2"),
        (dict(image_size=(30, 20)), r"a mask has the size \(20, 30\), the image has \(30, 20\)"),
    ],
)
def test_fields_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        three(**changes)


def test_it_needs_no_torch() -> None:
    script = (
        "import sys; from solo import Instances, draw_instances; import solo.inference.writers;"
        " print(*{name.partition('.')[0] for name in sys.modules} & {'torch', 'mmengine', 'mmcv', 'mmdet'})"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
