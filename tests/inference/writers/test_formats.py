"""Each format is read back, by its own reader where that can be installed, and compared pixel by pixel."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_api

from solo.inference.instances import Instances
from solo.inference.writers.formats import (
    cut_outs,
    to_coco_polygons,
    to_label_map,
    to_labelme,
    to_yolo,
)
from solo.masks.rle import encode_masks

SIZE = (40, 60)


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


PLAIN = box(2, 3, 12, 10)
HOLLOW = box(20, 5, 15, 15) & ~box(25, 10, 4, 5)
PARTS = box(3, 30, 5, 6) | box(12, 40, 8, 4) | box(25, 28, 3, 3)
OVERLAP = box(8, 8, 10, 10)
MASKS = [PLAIN, HOLLOW, PARTS, OVERLAP, np.zeros(SIZE, bool)]


def instances_of(masks: list[np.ndarray] = MASKS) -> Instances:
    count = len(masks)
    return Instances(
        labels=[index % 2 for index in range(count)],
        scores=np.linspace(0.9, 0.1, count),
        boxes=np.zeros((count, 4)),
        rles=encode_masks(np.stack(masks)) if count else [],
        image_size=masks[0].shape if count else SIZE,
        classes=("a", "b"),
    )


def fill_exactly(polygon: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Even-odd rule at the centres of the pixels, by a loop over the sides."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (np.minimum(y1, y2) <= rows) & (rows < np.maximum(y1, y2))
            inside ^= crosses & (columns < x1 + (rows - y1) * (x2 - x1) / (y2 - y1))
    return inside


def read_yolo(text: str) -> tuple[list[int], list[np.ndarray]]:
    """As ultralytics' `verify_image_label` reads a segmentation label."""
    rows = [line.split() for line in text.strip().splitlines() if line]
    segments = [np.array(row[1:], np.float32).reshape(-1, 2) for row in rows]
    assert all(
        len(row) > 6 and (points >= 0).all() and (points <= 1).all() for row, points in zip(rows, segments, strict=True)
    )
    return [int(row[0]) for row in rows], segments


def test_yolo() -> None:
    text, losses = to_yolo(instances_of())
    labels, segments = read_yolo(text)
    assert labels == [0, 1, 0, 1]
    masks = [fill_exactly(np.round(points * SIZE[::-1])) for points in segments]
    filled = HOLLOW | box(25, 10, 4, 5)
    for mask, expected in zip(masks, [PLAIN, filled, PARTS, OVERLAP], strict=True):
        np.testing.assert_array_equal(mask, expected)
    assert losses == {"holes filled": 1, "objects whose parts are joined by lines": 1, "objects without a pixel": 1}
    assert to_yolo(instances_of([])) == ("", {})


def test_coco_polygons_are_the_masks_to_pycocotools() -> None:
    polygons, losses = to_coco_polygons(instances_of())
    for parts, expected in zip(polygons[:4], [PLAIN, HOLLOW | box(25, 10, 4, 5), PARTS, OVERLAP], strict=True):
        rle = mask_api.merge(mask_api.frPyObjects(parts, *SIZE))
        np.testing.assert_array_equal(mask_api.decode(rle).astype(bool), expected)
    assert [len(parts) for parts in polygons] == [1, 1, 3, 1, 0]
    assert losses == {"holes filled": 1, "objects without a pixel": 1}


def test_simplified_outlines_stay_near() -> None:
    disk = np.hypot(*(np.mgrid[:200, :200] - 99.5)) < 80
    exact, near = (to_coco_polygons(instances_of([disk]), tolerance=tolerance)[0][0][0] for tolerance in (0, 1))
    assert len(near) < len(exact) / 5
    mask = mask_api.decode(mask_api.frPyObjects([near], 200, 200))[..., 0].astype(bool)
    assert (mask & disk).sum() / (mask | disk).sum() > 0.98
    dot = to_coco_polygons(instances_of([box(5, 5, 1, 1)]), tolerance=10)[0][0]
    assert dot == [[5, 5, 6, 5, 6, 6, 5, 6]]


def test_label_map_as_opencv_reads_it() -> None:
    numbers, losses = to_label_map(instances_of([*MASKS, box(9, 9, 2, 2)]))
    read = cv2.imdecode(cv2.imencode(".png", numbers)[1], cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read == 1, PLAIN)
    np.testing.assert_array_equal(read == 2, HOLLOW)
    np.testing.assert_array_equal(read == 3, PARTS)
    np.testing.assert_array_equal(read == 4, OVERLAP & ~PLAIN)
    assert losses == {
        "pixels of overlapping objects": int((OVERLAP & PLAIN).sum()) + 4,
        "objects hidden by others": 1,
        "objects without a pixel": 1,
    }


def test_more_objects_than_16_bits_number() -> None:
    height, width, count = 300, 300, 66_000
    positions = np.arange(count)
    rles = [dict(size=[height, width], counts=encoded) for encoded in _single_pixels(positions, height * width)]
    instances = Instances(
        labels=np.zeros(count),
        scores=np.linspace(1, 0, count),
        boxes=np.zeros((count, 4)),
        rles=rles,
        image_size=(height, width),
        classes=("dot",),
    )
    numbers, losses = to_label_map(instances)
    assert losses == {"objects beyond 65535": count - 65_535}
    np.testing.assert_array_equal(numbers.T.ravel()[:65_535], np.arange(1, 65_536))
    assert not numbers.T.ravel()[65_535:].any()


def _single_pixels(positions: np.ndarray, total: int) -> list[str]:
    """RLEs of one pixel each: background, one pixel, background."""

    def number(value: int) -> str:
        text, is_open = "", True
        while is_open:
            group, value = value & 31, value >> 5
            is_open = value != (-1 if group & 16 else 0)
            text += chr((group | 32 if is_open else group) + 48)
        return text

    return [number(position) + number(1) + number(total - position - 1) for position in positions.tolist()]


def read_labelme(content: dict) -> list[tuple[str, int | None, np.ndarray]]:
    """Label, group and mask of each shape, by labelme's documented layout."""
    read = []
    for shape in content["shapes"]:
        mask = np.zeros(SIZE, bool)
        if shape["shape_type"] == "mask":
            (x1, y1), (x2, y2) = np.array(shape["points"]).astype(int)
            png = np.frombuffer(base64.b64decode(shape["mask"]), np.uint8)
            mask[y1 : y2 + 1, x1 : x2 + 1] = cv2.imdecode(png, cv2.IMREAD_UNCHANGED).astype(bool)
        else:
            mask = fill_exactly(np.array(shape["points"], float))
        read.append((shape["label"], shape["group_id"], mask))
    return read


def test_labelme_keeps_holes_and_parts() -> None:
    content, losses = to_labelme(instances_of(), image_path="../a.png")
    assert losses == {"objects without a pixel": 1}
    shapes = read_labelme(json.loads(json.dumps(content)))
    assert [label for label, _, _ in shapes] == ["a", "b", "a", "a", "a", "b"]
    np.testing.assert_array_equal(shapes[0][2], PLAIN)
    np.testing.assert_array_equal(shapes[1][2], HOLLOW)
    assert [group for _, group, _ in shapes] == [None, None, 2, 2, 2, None]
    np.testing.assert_array_equal(np.any([mask for _, group, mask in shapes if group == 2], axis=0), PARTS)


def test_labelme_itself_reads_the_file(tmp_path: Path) -> None:
    """With the image as a file beside the json, and within the json."""
    label_file = pytest.importorskip("labelme._label_file", reason="labelme is not installed")
    image = np.full((*SIZE, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "labelme").mkdir()
    for data in (None, cv2.imencode(".png", image)[1].tobytes()):
        content, _ = to_labelme(instances_of(), image_path="../a.png", image_data=data)
        path = tmp_path / "labelme" / "a.json"
        path.write_text(json.dumps(content))
        read = label_file.LabelFile(str(path))
        assert [shape["shape_type"] for shape in read.shapes] == ["polygon", "mask", *["polygon"] * 4]
        top, left = (int(value) for value in read.shapes[1]["points"][0][::-1])
        mask = read.shapes[1]["mask"]
        np.testing.assert_array_equal(mask, HOLLOW[top : top + mask.shape[0], left : left + mask.shape[1]])


def test_cut_outs() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    pieces = list(cut_outs(image, instances_of()))
    assert pieces[4] is None
    read = cv2.imdecode(cv2.imencode(".png", pieces[1])[1], cv2.IMREAD_UNCHANGED)
    assert read.shape == (15, 15, 4)
    np.testing.assert_array_equal(read[..., 3], np.where(HOLLOW[20:35, 5:20], 255, 0))
    np.testing.assert_array_equal(read[..., :3], image[20:35, 5:20])
