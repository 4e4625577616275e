from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solo.datasets import SHAPES_CLASSES, ensure_shapes
from solo.datasets.coco.annotations import check_coco_file
from solo.datasets.shapes.dataset import _publish, _trace_polygons
from solo.datasets.shapes.rendering import render_image
from solo.errors import DataError
from solo.registry import DATASETS

# pycocotools' decoder under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COUNTS = dict(num_train=40, num_val=30)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_shapes(tmp_path_factory.mktemp("data") / "shapes", **COUNTS)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def read(root: Path, split: str) -> dict[str, Any]:
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text())


def test_two_builds_are_equal_to_the_byte(shapes: Path, tmp_path: Path) -> None:
    again = files(ensure_shapes(tmp_path / "again", **COUNTS))
    assert len(again) == 40 + 30 + 3
    assert again == files(shapes)


def test_an_image_depends_on_no_other(shapes: Path, tmp_path: Path) -> None:
    few = files(ensure_shapes(tmp_path / "few", num_train=5, num_val=2))
    many = files(shapes)
    images = [name for name in few if name.endswith(".png")]
    assert len(images) == 7
    assert all(few[name] == many[name] for name in images)
    assert many["train/000000.png"] != many["val/000000.png"]


def test_nothing_is_generated_twice(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise AssertionError("an image is rendered")

    before = (shapes / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr("solo.datasets.shapes.dataset.render_image", fail)
    ensure_shapes(shapes, **COUNTS)
    assert (shapes / "manifest.json").stat().st_mtime_ns == before


def test_another_process_was_faster(tmp_path: Path) -> None:
    root, generated = (ensure_shapes(tmp_path / name, num_train=2, num_val=1) for name in ("shapes", "generated"))
    before = files(root)
    _publish(generated, root, json.loads((root / "manifest.json").read_text()))
    assert files(root) == before


def test_a_folder_that_cannot_be_moved_is_told(tmp_path: Path) -> None:
    generated = ensure_shapes(tmp_path / "generated", num_train=2, num_val=1)
    with pytest.raises(OSError, match="missing"):
        _publish(generated, tmp_path / "missing" / "shapes", json.loads((generated / "manifest.json").read_text()))


@pytest.mark.parametrize("change", [dict(num_train=3), dict(num_val=2), dict(image_size=64), dict(seed=1)])
def test_a_set_with_other_parameters_is_left_alone(tmp_path: Path, change: dict[str, int]) -> None:
    options = dict(num_train=2, num_val=1)
    root = ensure_shapes(tmp_path / "shapes", **options)
    before = files(root)
    with pytest.raises(DataError, match="left untouched: give another data_root"):
        ensure_shapes(root, **{**options, **change})
    assert files(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


@pytest.mark.parametrize("manifest", [None, "{}", "[]", "no json", '{"drawing_version": 0, "image_size": 160}'])
def test_a_foreign_folder_is_left_alone(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    before = files(tmp_path)
    with pytest.raises(DataError, match="left untouched"):
        ensure_shapes(tmp_path)
    assert files(tmp_path) == before


def test_a_file_or_a_broken_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(DataError, match="left untouched"):
        ensure_shapes(tmp_path / "file", num_train=1, num_val=1)
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with pytest.raises(DataError, match="left untouched"):
        ensure_shapes(tmp_path / "link", num_train=1, num_val=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "shapes").mkdir()
    assert len(files(ensure_shapes(tmp_path / "shapes", num_train=1, num_val=1))) == 2 + 3


def test_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("solo.datasets.shapes.dataset.render_image", fail)
    with pytest.raises(KeyboardInterrupt):
        ensure_shapes(tmp_path / "shapes", **COUNTS)
    assert list(tmp_path.iterdir()) == []


def test_content(shapes: Path) -> None:
    annotations = read(shapes, "train")["annotations"] + read(shapes, "val")["annotations"]
    assert {a["category_id"] for a in annotations} == set(range(1, len(SHAPES_CLASSES) + 1))
    assert any(a["iscrowd"] for a in annotations)
    assert all(isinstance(a["segmentation"], dict) for a in annotations if a["iscrowd"])
    kinds = {isinstance(a["segmentation"], list) for a in annotations if not a["iscrowd"]}
    assert kinds == {True, False}
    assert min(a["area"] for a in annotations) >= 40
    annotated = {a["image_id"] for a in read(shapes, "train")["annotations"]}
    assert 0 < 40 - len(annotated) < 10
    for split in ("train", "val"):
        assert check_coco_file(shapes / "annotations" / f"instances_{split}.json").left_out == 0


def test_annotations_equal_what_was_rendered(shapes: Path) -> None:
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in read(shapes, "val")["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    for index in range(COUNTS["num_val"]):
        image, objects = render_image(rng=np.random.default_rng([0, 1, index]), size=160)
        np.testing.assert_array_equal(image, cv2.imread(str(shapes / "val" / f"{index:06d}.png")))
        found = by_image.get(index + 1, [])
        assert [a["category_id"] - 1 for a in found] == [generated.label for generated in objects]
        for annotation, generated in zip(found, objects, strict=True):
            encoded = annotation["segmentation"]
            if isinstance(encoded, list):
                encoded = coco_mask.merge(coco_mask.frPyObjects(encoded, 160, 160))
            np.testing.assert_array_equal(coco_mask.decode(encoded).astype(bool), generated.mask)
            assert annotation["area"] == generated.mask.sum()
        assert np.sum([generated.mask for generated in objects], axis=0).max() <= 1


def test_polygons_of_split_and_of_holed_masks() -> None:
    mask = np.zeros((12, 20), dtype=bool)
    mask[2:9, 1:6] = mask[4:6, 10:18] = True
    polygons = _trace_polygons(mask)
    assert polygons is not None
    assert len(polygons) == 2
    mask[4, 3] = False
    assert _trace_polygons(mask) is None


def test_registered_dataset_generates_itself(tmp_path: Path) -> None:
    dataset = DATASETS.build(
        dict(
            type="solo.Shapes",
            data_root=str(tmp_path / "data" / "shapes"),
            num_train=6,
            num_val=2,
            ann_file="annotations/instances_train.json",
            data_prefix=dict(img="train/"),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadInstances"),
                dict(type="PackSample"),
            ],
        )
    )
    assert len(dataset) == 6
    assert dataset.metainfo["classes"] == SHAPES_CLASSES
    assert sum(len(dataset[i]["data_samples"].gt_instances) for i in range(6)) == dataset.report.used
