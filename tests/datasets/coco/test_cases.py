"""Annotation files from the public's bug reports: read alike in training, in testing and by the tools."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.datasets import CocoInstances, check_coco_file
from solo.datasets.coco.annotation_rules import COUNTS_AS_BYTES, REPEATED_ID, UNKNOWN_CATEGORY
from solo.datasets.coco.polygons import POINT_LISTS
from solo.datasets.coco.subset import write_subset
from solo.engine.testing import test as run_test
from solo.errors import DataError
from solo.evaluation import CocoMaskMetric
from solo.masks.segmentations import FAR_POLYGON, OTHER_SIZE
from tests.helpers.evaluation import STAT_KEYS
from tests.helpers.fakes import CONFIG, write_checkpoint
from tests.helpers.paths import SHARED

CASES = SHARED / "cases"
pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools under numpy 2
]
PIPELINE = [dict(type="LoadImage"), dict(type="LoadInstances"), dict(type="PackSample")]

Clean = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Mends an annotation by hand, or leaves it out (None)."""


def with_box_and_area(annotation: dict[str, Any]) -> dict[str, Any]:
    rle = coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], 96, 96))
    return {**annotation, "bbox": coco_mask.toBbox(rle).tolist(), "area": float(coco_mask.area(rle))}


def flattened(annotation: dict[str, Any]) -> dict[str, Any]:
    polygons = annotation["segmentation"]
    if isinstance(polygons[0][0], list):
        polygons = [np.ravel(polygon).tolist() for polygon in polygons]
    return {**annotation, "segmentation": polygons}


def with_sound_rle(annotation: dict[str, Any]) -> dict[str, Any] | None:
    rle = annotation["segmentation"]
    return annotation if isinstance(rle, list) or sum(rle["counts"]) == 96 * 96 else None


def with_plain_counts(annotation: dict[str, Any]) -> dict[str, Any]:
    rle = annotation["segmentation"]
    if isinstance(rle, dict) and isinstance(rle["counts"], str):
        rle = {**rle, "counts": ast.literal_eval(rle["counts"]).decode()}
    return {**annotation, "segmentation": rle}


def with_near_points(annotation: dict[str, Any]) -> dict[str, Any] | None:
    return annotation if np.abs(np.ravel(annotation["segmentation"])).max() < 1000 else None


def with_category(annotation: dict[str, Any]) -> dict[str, Any] | None:
    return annotation if "category_id" in annotation else None


def unchanged(annotation: dict[str, Any]) -> dict[str, Any]:
    return annotation


# Case -> what mends it, what is left out of its validation file, and what is used after a repair.
KINDS: dict[str, tuple[Clean, dict[str, int], dict[str, int]]] = {
    "01-flat-segmentation": (lambda entry: {**entry, "segmentation": [entry["segmentation"]]}, {}, {}),
    "02-iscrowd-null": (lambda entry: {**entry, "iscrowd": 0}, {}, {}),
    "02b-iscrowd-text-0": (lambda entry: {**entry, "iscrowd": 0}, {}, {}),
    "03-area-list": (lambda entry: {**entry, "area": entry["area"][0]}, {}, {}),
    "04-bom": (unchanged, {}, {}),
    "05-no-bbox": (with_box_and_area, {}, {}),
    "09-nested-points-in-val": (flattened, {}, {POINT_LISTS: 9}),
    "10-roboflow-root-same-name": (unchanged, {}, {}),
    "11-annotation-ids-restart-in-each-image": (unchanged, {}, {REPEATED_ID: 6}),
    "12-ids-from-zero": (unchanged, {}, {}),
    "13-test-dev-without-annotations": (unchanged, {}, {}),
    "14b-rle-iscrowd-0": (unchanged, {}, {}),
    "31-bad-rle-in-val": (with_sound_rle, {OTHER_SIZE: 2}, {}),
    "31b-counts-bytes-repr-in-val": (with_plain_counts, {}, {COUNTS_AS_BYTES: 9}),
    "32b-far-point-in-val": (with_near_points, {FAR_POLYGON: 1}, {}),
    "38-category-id-missing-in-val": (
        lambda entry: entry if "category_id" in entry else None,
        {UNKNOWN_CATEGORY: 1},
        {},
    ),
}
every_case = pytest.mark.parametrize("case", KINDS)


def path_of(case: str, split: str = "val") -> Path:
    return CASES / "annotations" / case / f"instances_{split}.json"


def dataset_of(case: str, split: str, **options: Any) -> CocoInstances:
    return CocoInstances(
        data_root=str(CASES), ann_file=str(path_of(case, split)), data_prefix=dict(img=f"images/{split}/"), **options
    )


def cleaned(case: str, split: str = "val") -> dict[str, Any]:
    """The file mended by hand."""
    content = json.loads(path_of(case, split).read_text(encoding="utf-8-sig"))
    mended = [KINDS[case][0](annotation) for annotation in content.get("annotations", [])]
    kept = [{"iscrowd": 0, **annotation, "id": i} for i, annotation in enumerate(filter(None, mended), 1)]
    categories = [entry for entry in content["categories"] if entry.get("supercategory") != "none"]
    return {**content, "annotations": kept, "categories": categories}


def predictions_of(case: str) -> list[dict[str, Any]]:
    """Objects of a sound file, shifted, one in five under the other class: what the metric gets."""
    content = cleaned(case if case.startswith("12") else "04-bom")
    category_ids = sorted(entry["id"] for entry in content["categories"])
    generator = np.random.default_rng(0)
    samples = []
    for image in content["images"]:
        found = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        rles = [coco_mask.merge(coco_mask.frPyObjects(entry["segmentation"], 96, 96)) for entry in found]
        shifts = generator.integers(-2, 3, (len(rles), 2))
        masks = np.array([np.roll(coco_mask.decode(rle), s, (0, 1)) for rle, s in zip(rles, shifts, strict=True)])
        boxes = [[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in map(np.nonzero, masks)]
        labels = np.array([category_ids.index(entry["category_id"]) for entry in found])
        labels[generator.random(len(found)) < 0.2] ^= 1
        instances = dict(
            labels=labels, scores=generator.random(len(found)), bboxes=np.array(boxes), masks=masks.astype(bool)
        )
        samples.append(dict(img_id=image["id"], pred_instances=instances))
    return samples


def stats_of_pycocotools(content: dict[str, Any], results: list[dict[str, Any]], name: str) -> list[float]:
    drop = "bbox" if name == "segm" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        entries = [{key: value for key, value in entry.items() if key != drop} for entry in results]
        evaluator = COCOeval(truth, truth.loadRes(entries), name)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return list(evaluator.stats[:6])


@every_case
@pytest.mark.parametrize("with_dataset", [True, False])
def test_ap_is_that_of_pycocotools_on_the_mended_file(case: str, with_dataset: bool, tmp_path: Path) -> None:
    dataset = dataset_of(case, "val", test_mode=True)
    results_file = tmp_path / "results.json"
    metric = CocoMaskMetric(ann_file=None if with_dataset else str(path_of(case)), results_file=str(results_file))
    metric.dataset_meta = dataset.metainfo
    if with_dataset:
        metric.set_datasets([dataset])
    metric.process(None, predictions_of(case))
    metrics = metric.evaluate(len(dataset))
    results = json.loads(results_file.read_text())
    assert len(results) >= 9
    for name in ("segm", "bbox"):
        expected = stats_of_pycocotools(cleaned(case), results, name)
        assert [metrics[f"coco/{name}_{key}"] for key in STAT_KEYS] == pytest.approx(expected, abs=1e-12)
    assert (metrics["coco/segm_mAP"] == -1) == case.startswith("13")


@every_case
def test_training_reads_what_is_right(case: str) -> None:
    for split in ("train", "val"):
        if case.startswith("13") and split == "val":
            with pytest.raises(DataError, match=r"no usable object to train on(.|\n)*no key 'annotations'"):
                dataset_of(case, split)
            continue
        dataset, expected = dataset_of(case, split, pipeline=PIPELINE), cleaned(case, split)
        assert len(dataset) == len(expected["images"])
        objects = sum(len(dataset[index]["data_samples"].gt_instances) for index in range(len(dataset)))
        assert objects == dataset.report.used == len(expected["annotations"])
        assert dataset.metainfo["classes"] == tuple(entry["name"] for entry in expected["categories"])


@every_case
def test_report(case: str) -> None:
    _, left_out, repaired = KINDS[case]
    report = check_coco_file(path_of(case))
    assert {kind: len(ids) for kind, ids in report.problems.items()} == left_out
    assert {kind: len(ids) for kind, ids in report.repairs.items()} == repaired
    assert report.remarks == {
        "10-roboflow-root-same-name": ["category 0 ignored: no annotation, and 'box' is another one's name"],
        "13-test-dev-without-annotations": [
            "no key 'annotations'; the file has ['categories', 'images', 'info', 'licenses']"
        ],
    }.get(case, [])


@every_case
def test_subset_is_a_sound_file(case: str, tmp_path: Path) -> None:
    if case.startswith("13"):
        with pytest.raises(DataError, match="has no object"):
            write_subset(path_of(case), tmp_path / "subset.json")
        return
    counts = write_subset(path_of(case), tmp_path / "subset.json", num_images=2)
    report = check_coco_file(tmp_path / "subset.json")
    assert (report.images, report.used, report.annotations) == (2, counts["objects"], counts["objects"])
    assert (report.problems, report.repairs, report.remarks) == ({}, {}, [])
    with contextlib.redirect_stdout(io.StringIO()):
        assert len(COCO(tmp_path / "subset.json").anns) == counts["objects"]


def test_file_without_annotations_is_tested_and_its_results_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = "13-test-dev-without-annotations"
    dataset = dict(
        type="CocoInstances",
        data_root=str(CASES),
        ann_file=str(path_of(case)),
        data_prefix=dict(img="images/val/"),
        pipeline=[PIPELINE[0], PIPELINE[-1]],
        test_mode=True,
    )
    config = tmp_path / "square.py"
    loader = dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset)
    changes = f"test_dataloader = {loader}\ntest_evaluator = dict(type='CocoMaskMetric')\n"
    config.write_text(CONFIG.format(folder=str(tmp_path), ann_file="") + changes)
    checkpoint = write_checkpoint(tmp_path / "weights.pth", classes=("box", "disk"))
    out = tmp_path / "results.json"
    metrics = run_test(str(config), str(checkpoint), work_dir=str(tmp_path / "work"), out=str(out))
    assert metrics["coco/segm_mAP"] == metrics["coco/bbox_mAP"] == -1
    assert [entry["image_id"] for entry in json.loads(out.read_text())] == [1, 2, 3]
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mask ")]
    assert row.split() == ["mask", *"------"]
