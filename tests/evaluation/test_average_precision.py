"""Both evaluators against pycocotools over whole files, to the last bit: ties, crowds, borders of areas and lists."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.coco.annotations import read_annotations
from solo.errors import ConfigError
from solo.evaluation import average_precision
from solo.evaluation.average_precision import choose_backend, coco_precision
from solo.evaluation.detections import ImageDetections
from tests.helpers.evaluation import generated_image

HEIGHT, WIDTH = 120, 160
CATEGORY_IDS = [1, 4, 9, 90]  # the last has no object
needs_hotcoco = pytest.mark.skipif(importlib.util.find_spec("hotcoco") is None, reason="hotcoco is not installed")
BACKENDS = ["pycocotools", pytest.param("hotcoco", marks=needs_hotcoco)]


def encode(mask: np.ndarray) -> dict[str, Any]:
    encoded = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=list(encoded["size"]), counts=encoded["counts"].decode())


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    return mask


def random_scene(seed: int, *, images: int = 12, ties: bool, crowds: float, detections_per_object: int) -> Any:
    """A COCO file and detections near its objects: (content, rows in COCO's results format)."""
    generator = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image_id in range(100, 100 + images):
        for _ in range(generator.integers(0, 7)):
            x, y, width, height = (int(side) for side in generator.integers(2, 100, 4))
            if generator.random() < 0.4:
                width = height = int(generator.choice([31, 32, 33, 96]))  # at the borders of COCO's areas
            mask, category = rectangle(x, y, width, height), int(generator.integers(0, 3))
            segmentation: Any = encode(mask)
            if generator.random() < 0.3:
                segmentation = [[x, y, x + width + 0.3, y, x + width, y + height, x, y + height - 0.7]]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=CATEGORY_IDS[category],
                    segmentation=segmentation,
                    bbox=[x, y, width, height],
                    area=float(generator.choice([mask.sum(), 1024, 9216, 9216.5])),
                    iscrowd=int(not isinstance(segmentation, list) and generator.random() < crowds),
                )
            )
            for _ in range(generator.integers(0, detections_per_object + 1)):
                shift = generator.integers(-4, 5, 4)
                found = rectangle(x + shift[0], y + shift[1], width + shift[2], height + shift[3])
                if generator.random() < 0.3:
                    found &= generator.random(found.shape) < 0.9
                encoded = encode(found)
                rows.append(
                    dict(
                        image_id=image_id,
                        category_id=CATEGORY_IDS[category if generator.random() < 0.9 else generator.integers(0, 3)],
                        bbox=mask_api.toBbox(encoded).tolist(),
                        score=float(np.float32(generator.integers(0, 6) / 5 if ties else generator.random())),
                        segmentation=encoded,
                    )
                )
    content = dict(
        images=[dict(id=100 + image, file_name=f"{image}.png", height=HEIGHT, width=WIDTH) for image in range(images)],
        annotations=annotations,
        categories=[dict(id=category, name=str(category)) for category in CATEGORY_IDS],
    )
    return content, rows


def compact(rows: list[dict[str, Any]], image_ids: list[int]) -> list[ImageDetections]:
    detections = []
    for image_id in image_ids:
        mine = [row for row in rows if row["image_id"] == image_id]
        boxes = np.array([row["bbox"] for row in mine], np.float64).reshape(-1, 4)
        instances = dict(
            labels=np.array([CATEGORY_IDS.index(row["category_id"]) for row in mine], np.int64),
            scores=np.array([row["score"] for row in mine], np.float32),
            bboxes=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32),
            masks=[row["segmentation"] for row in mine],
        )
        detections.append(ImageDetections.from_instances(image_id, instances))
    return detections


def whole_pycocotools(
    content: dict[str, Any], rows: list[dict[str, Any]], name: str, image_ids: list[int], max_dets: list[int]
) -> np.ndarray:
    """pycocotools called as its manual says, on everything at once."""
    drop = "bbox" if name == "segm" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        found = [{key: value for key, value in copy.deepcopy(row).items() if key != drop} for row in rows]
        evaluator = COCOeval(truth, truth.loadRes(found), name)
        evaluator.params.imgIds = image_ids
        evaluator.params.maxDets = max_dets
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"][..., -1]


def read(content: dict[str, Any], folder: Path) -> list[AnnotatedImage]:
    """The images of a COCO file as the metric gets them, labels in the order of its categories."""
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    classes = [entry["name"] for entry in content["categories"]]
    return list(read_annotations(path, classes=classes, for_evaluation=True).annotated_images())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_last_bit(
    seed: int, name: str, backend: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(average_precision, "GROUP_DETECTIONS", [10, 1000][seed % 2])
    content, rows = random_scene(
        seed, ties=seed % 2 == 0, crowds=(0, 0.1, 0.5)[seed % 3], detections_per_object=(2, 5, 20)[seed % 3]
    )
    image_ids = list(range(101, 111))  # two images of the file are not evaluated
    truth = read(content, tmp_path)
    for max_dets in (1, 3, 100, 400):
        expected = whole_pycocotools(content, rows, name, image_ids, [min(1, max_dets), min(10, max_dets), max_dets])
        found = coco_precision(
            truth,
            compact(rows, image_ids),
            name=name,
            num_classes=len(CATEGORY_IDS),
            max_dets=max_dets,
            backend=backend,
        )
        assert found.dtype == np.float64
        assert np.array_equal(found, expected)
    assert 0 < expected[expected > -1].mean() < 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["segm", "bbox"])
def test_objects_without_a_pixel_are_ground_truth_as_in_pycocotools(name: str, backend: Any, tmp_path: Path) -> None:
    content, rows = random_scene(3, ties=False, crowds=0.1, detections_per_object=3)
    nothing = dict(size=[HEIGHT, WIDTH], counts=[HEIGHT * WIDTH])
    line, point = [[5.0, 7.0, 60.0, 7.0, 30.0, 7.0]], [[5.2, 7.2, 5.3, 7.2, 5.3, 7.3]]
    outside = [[170.0, 7.0, 190.0, 7.0, 190.0, 60.0]]
    square = [[5.0, 5.0, 60.0, 5.0, 60.0, 60.0, 5.0, 60.0]]
    shapes: list[Any] = [
        (line, [5, 7, 55, 0]),
        (point, [5.2, 7.2, 0.1, 0.1]),
        (nothing, [0, 0, 0, 0]),
        (encode(np.zeros((HEIGHT, WIDTH), bool)), [5, 5, 9, 9]),
        (outside, [170, 7, 20, 53]),
        (square, [5, 5, 0, 60]),
    ]
    for number, (segmentation, box) in enumerate(shapes * 4):
        content["annotations"].append(
            dict(
                id=len(content["annotations"]) + 1,
                image_id=100 + number % 12,
                category_id=CATEGORY_IDS[number % 3],
                segmentation=segmentation,
                bbox=box,
                area=float(number % 5),
                iscrowd=number % 7 == 0,
            )
        )
    image_ids = list(range(100, 112))
    truth = read(content, tmp_path)
    assert sum(len(image.instances) for image in truth) == len(content["annotations"])
    expected = whole_pycocotools(content, rows, name, image_ids, [1, 10, 100])
    found = coco_precision(
        truth, compact(rows, image_ids), name=name, num_classes=len(CATEGORY_IDS), max_dets=100, backend=backend
    )
    assert np.array_equal(found, expected)
    usable = list(read_annotations(tmp_path / "annotations.json").annotated_images())
    assert sum(len(image.instances) for image in usable) == len(content["annotations"]) - len(shapes) * 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_photographs(shared_data: Path, backend: Any, tmp_path: Path) -> None:
    """The objects of real images, shifted, some under another class: polygons, crowds and all sizes occur."""
    content = json.loads((shared_data / "coco_mini/annotations/instances_train2017.json").read_text())
    generator = np.random.default_rng(0)
    category_ids = [category["id"] for category in content["categories"]]
    image_ids = [image["id"] for image in content["images"]]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
    detections, rows = [], []
    for image_id in image_ids:
        annotations = [entry for entry in truth.imgToAnns[image_id] if entry.get("segmentation")]
        masks = [np.roll(truth.annToMask(entry), generator.integers(-3, 4, 2), (0, 1)) for entry in annotations]
        mine = [
            dict(
                image_id=image_id,
                category_id=entry["category_id"] if generator.random() < 0.9 else int(generator.choice(category_ids)),
                score=float(np.float32(generator.random())),
                segmentation=encode(mask),
                bbox=mask_api.toBbox(encode(mask)).tolist(),
            )
            for entry, mask in zip(annotations, masks, strict=True)
        ]
        boxes = np.array([row["bbox"] for row in mine]).reshape(-1, 4)
        instances = dict(
            labels=np.array([category_ids.index(row["category_id"]) for row in mine], np.int64),
            scores=np.array([row["score"] for row in mine], np.float32),
            bboxes=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
            masks=[row["segmentation"] for row in mine],
        )
        detections.append(ImageDetections.from_instances(image_id, instances))
        rows += mine
    usable = read(content, tmp_path)
    for name in ("segm", "bbox"):
        num_classes = len(category_ids)
        found = coco_precision(usable, detections, name=name, num_classes=num_classes, max_dets=100, backend=backend)
        order = np.argsort(category_ids)
        expected = whole_pycocotools(content, rows, name, image_ids, [1, 10, 100])
        assert np.array_equal(found[:, :, order], expected)
        assert expected[expected > -1].mean() > 0.3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["segm", "bbox"])
def test_no_detection_and_names_as_ids(name: str, backend: Any, tmp_path: Path) -> None:
    content, _ = random_scene(0, ties=False, crowds=0, detections_per_object=1)
    for image in content["images"]:
        image["id"] = f"image {image['id']}"
    for entry in content["annotations"]:
        entry["image_id"] = f"image {entry['image_id']}"
    truth = read(content, tmp_path)
    empty = dict(labels=np.zeros(0, int), scores=np.zeros(0), bboxes=np.zeros((0, 4)), masks=[])
    detections = [ImageDetections.from_instances(image["id"], empty) for image in content["images"]]
    precision = coco_precision(truth, detections, name=name, num_classes=4, max_dets=100, backend=backend)
    assert precision.shape == (10, 101, 4, 4)
    assert (precision[:, :, :3, 0] == 0).all()
    assert (precision[:, :, 3] == -1).all()


def test_memory_of_kept_detections() -> None:
    """A hundred detections with 120 characters each keep 15 kB: 75 MB for the 5,000 images of COCO."""
    generated_image(0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [generated_image(image_id) for image_id in range(200)]
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / len(kept) < 18_000


def test_choice_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend("pycocotools") == "pycocotools"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_backend("auto") == "pycocotools"
    with pytest.raises(ConfigError, match="hotcoco is not installed"):
        choose_backend("hotcoco")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert choose_backend("auto") == choose_backend("hotcoco") == "hotcoco"
    with pytest.raises(ConfigError, match="'fast' is unknown"):
        choose_backend("fast")
