"""CocoMaskMetric against pycocotools itself, and by hand."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.datasets.coco.annotations import read_annotations
from solo.errors import ConfigError, DataError
from solo.evaluation import CocoMaskMetric
from tests.helpers.evaluation import (
    META,
    STAT_KEYS,
    annotation,
    evaluate,
    prediction,
    random_scene,
    rectangle,
    write_file,
)


def pycocotools_stats(ann_file: str, results: list[dict[str, Any]], iou_type: str) -> np.ndarray:
    drop = "bbox" if iou_type == "segm" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(ann_file)
        entries = [{key: value for key, value in entry.items() if key != drop} for entry in results]
        evaluator = COCOeval(ground_truth, ground_truth.loadRes(entries), iou_type)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats[:6]


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(tmp_path: Path, seed: int) -> None:
    annotations, predictions = random_scene(seed)
    ann_file = write_file(tmp_path, annotations, num_images=4)
    results_file = tmp_path / "out" / "results.json"
    metrics = evaluate(ann_file, predictions, results_file=str(results_file))
    results = json.loads(results_file.read_text())
    for iou_type in ("segm", "bbox"):
        expected = pycocotools_stats(ann_file, results, iou_type)
        ours = [metrics[f"coco/{iou_type}_{key}"] for key in STAT_KEYS]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
    assert 0 < metrics["coco/segm_mAP"] < 1


def perfect_case(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    big, small = rectangle(5, 6, 100, 100), rectangle(120, 10, 20, 20)
    annotations = [
        annotation(big, image_id=10, category_id=3),
        annotation(small, image_id=10, category_id=90),
        annotation(small, image_id=11, category_id=3),
    ]
    predictions = [prediction(10, [big, small], [0, 2], [0.9, 0.8]), prediction(11, [small], [0], [0.7])]
    return write_file(folder, annotations), predictions


def test_perfect_predictions(tmp_path: Path) -> None:
    ann_file, predictions = perfect_case(tmp_path)
    metrics = evaluate(ann_file, predictions, classwise=True)
    for name in ("segm", "bbox"):
        assert metrics[f"coco/{name}_mAP"] == pytest.approx(1.0)
        assert metrics[f"coco/{name}_mAP_s"] == pytest.approx(1.0)
        assert metrics[f"coco/{name}_mAP_m"] == -1
        assert metrics[f"coco/{name}_mAP_l"] == pytest.approx(1.0)
        assert metrics[f"coco/{name}_star_precision"] == pytest.approx(1.0)
        assert metrics[f"coco/{name}_square_precision"] == -1


def test_results_file_loads_in_pycocotools(tmp_path: Path) -> None:
    ann_file, predictions = perfect_case(tmp_path)
    results_file = tmp_path / "results.json"
    evaluate(ann_file, predictions, results_file=str(results_file))
    first = json.loads(results_file.read_text())[0]
    assert first["category_id"] == 3
    assert first["bbox"] == [5, 6, 100, 100]
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = COCO(ann_file).loadRes(str(results_file))
    assert mask_api.area(loaded.anns[1]["segmentation"]) == 100 * 100


def test_wrong_mask_lowers_mask_ap_alone(tmp_path: Path) -> None:
    """The box of a hollow mask is right, its pixels are not."""
    solid = rectangle(10, 10, 60, 60)
    hollow = solid & ~rectangle(12, 12, 56, 56)
    ann_file = write_file(tmp_path, [annotation(solid, image_id=10, category_id=3)])
    metrics = evaluate(ann_file, [prediction(10, [hollow], [0], [0.9])])
    assert metrics["coco/segm_mAP"] == 0
    assert metrics["coco/bbox_mAP"] == pytest.approx(1.0)


def test_no_detection_at_all_scores_zero(tmp_path: Path) -> None:
    ann_file, _ = perfect_case(tmp_path)
    metrics = evaluate(ann_file, [prediction(10, [], [], []), prediction(11, [], [], [])])
    assert metrics["coco/segm_mAP"] == 0
    assert metrics["coco/bbox_mAP"] == 0


def test_no_object_at_all_is_undefined(tmp_path: Path) -> None:
    ann_file = write_file(tmp_path, [])
    metrics = evaluate(ann_file, [prediction(10, [rectangle(1, 1, 5, 5)], [0], [0.5])])
    assert metrics["coco/segm_mAP"] == -1


def test_only_evaluated_images_count(tmp_path: Path) -> None:
    ann_file, predictions = perfect_case(tmp_path)
    assert evaluate(ann_file, predictions[:1])["coco/segm_mAP"] == pytest.approx(1.0)


def test_repeated_image_counts_once(tmp_path: Path) -> None:
    """The last batch of a distributed loader may repeat images."""
    ann_file, predictions = perfect_case(tmp_path)
    assert evaluate(ann_file, [*predictions, predictions[0]])["coco/segm_mAP"] == pytest.approx(1.0)


def test_detection_on_a_crowd_is_no_mistake(tmp_path: Path) -> None:
    single, crowd = rectangle(5, 5, 30, 30), rectangle(60, 5, 80, 80)
    annotations = [annotation(single, image_id=10, category_id=3), annotation(crowd, image_id=10, category_id=3)]
    annotations[1]["iscrowd"] = 1
    ann_file = write_file(tmp_path, annotations)
    masks = [rectangle(70, 10, 20, 20), single]
    assert evaluate(ann_file, [prediction(10, masks, [0, 0], [0.9, 0.5])])["coco/segm_mAP"] == pytest.approx(1.0)


def test_max_dets_keeps_the_best(tmp_path: Path) -> None:
    masks = [rectangle(x, 5, 8, 8) for x in range(0, 40, 10)]
    ann_file = write_file(tmp_path, [annotation(mask, image_id=10, category_id=3) for mask in masks])
    predictions = [prediction(10, masks, [0] * 4, [0.9, 0.8, 0.7, 0.6])]
    assert evaluate(ann_file, predictions)["coco/segm_mAP"] == pytest.approx(1.0)
    recalled_half = evaluate(ann_file, predictions, max_dets=2)["coco/segm_mAP"]
    assert recalled_half == pytest.approx(51 / 101)


def test_more_detections_than_a_byte_counts(tmp_path: Path) -> None:
    masks = [rectangle(x, y, 4, 4) for x in range(0, 80, 4) for y in range(0, 60, 4)]
    ann_file = write_file(tmp_path, [annotation(mask, image_id=10, category_id=3) for mask in masks], num_images=1)
    predictions = [prediction(10, masks, [0] * len(masks), [0.5] * len(masks))]
    assert len(masks) > 255
    assert evaluate(ann_file, predictions, max_dets=len(masks))["coco/segm_mAP"] == pytest.approx(1.0)


def test_second_evaluation_is_the_same(tmp_path: Path) -> None:
    ann_file, predictions = perfect_case(tmp_path)
    metric = CocoMaskMetric(ann_file=ann_file)
    metric.dataset_meta = META
    runs = []
    for _ in range(2):
        metric.process(None, predictions)
        runs.append(metric.evaluate(2))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "damage",
    [
        dict(segmentation=[]),
        dict(segmentation=None),
        dict(segmentation=[[1, 1, 5, 5]]),
        dict(segmentation=dict(size=[7, 7], counts=[49])),
    ],
)
def test_unusable_ground_truth_is_left_out_as_in_training(
    tmp_path: Path, damage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr("solo.datasets.coco.report.print_log", lambda text, **_: logged.append(text))
    good, bad = rectangle(5, 5, 30, 30), rectangle(60, 5, 30, 30)
    annotations = [annotation(good, image_id=10, category_id=3), annotation(bad, image_id=10, category_id=3)]
    annotations[1].update(damage)
    ann_file = write_file(tmp_path, annotations)
    metrics = evaluate(ann_file, [prediction(10, [good], [0], [0.9])])
    assert metrics["coco/segm_mAP"] == pytest.approx(1.0)
    assert metrics["coco/bbox_mAP"] == pytest.approx(1.0)
    (report,) = [text for text in logged if "left out" in text]
    assert report.splitlines()[1].startswith("  1 left out, ")
    assert report.endswith(": annotation 1")


def test_missing_crowd_flag_and_area_are_filled_in(tmp_path: Path) -> None:
    mask = rectangle(5, 5, 20, 20)
    entry = annotation(mask, image_id=10, category_id=3)
    del entry["iscrowd"], entry["area"]
    entry["segmentation"] = [[5, 5, 25, 5, 25, 25, 5, 25]]
    ann_file = write_file(tmp_path, [entry])
    metrics = evaluate(ann_file, [prediction(10, [mask], [0], [0.9])])
    assert metrics["coco/segm_mAP_s"] == pytest.approx(1.0)


def test_a_missing_box_or_area_is_that_of_all_parts_of_the_mask(tmp_path: Path) -> None:
    entry = annotation(rectangle(5, 5, 20, 20), image_id=10, category_id=3)
    del entry["bbox"], entry["area"]
    entry["segmentation"] = [[4, 2, 10, 2, 10, 8, 4, 8], [20, 10, 24, 10, 24, 16, 20, 16], [4, 2, 8, 2, 8, 8, 4, 8]]
    image, _ = read_annotations(write_file(tmp_path, [entry])).annotated_images()
    assert image.measures().tolist() == [[4, 2, 20, 14, 6 * 6 + 4 * 6]]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json"):
        CocoMaskMetric(ann_file=str(tmp_path / "nowhere.json"))


def test_neither_file_nor_dataset() -> None:
    metric = CocoMaskMetric()
    metric.dataset_meta = META
    with pytest.raises(ConfigError, match="ann_file"):
        metric.process(None, [])
    with pytest.raises(ConfigError, match="ann_file"):
        metric.set_datasets([[]])


def test_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{"images": [')
    with pytest.raises(DataError, match=r"broken\.json.*JSON"):
        evaluate(str(path), [prediction(10, [], [], [])])


@pytest.mark.parametrize("options", [dict(metric="keypoints"), dict(max_dets=0)])
def test_wrong_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CocoMaskMetric(ann_file=write_file(tmp_path, []), **options)


def test_other_class_names_than_the_file(tmp_path: Path) -> None:
    metric = CocoMaskMetric(ann_file=write_file(tmp_path, []))
    metric.dataset_meta = dict(classes=("disc", "moon"))
    with pytest.raises(DataError, match=r"moon.*'disc'"):
        metric.load_annotations()
    metric.dataset_meta = dict(classes=("disc", "star"), category_ids=(3, 7))
    with pytest.raises(DataError, match=r"'star': 7.*'star': 90"):
        metric.load_annotations()
    metric.dataset_meta = dict()
    with pytest.raises(DataError, match="names no classes"):
        metric.load_annotations()


def test_category_ids_follow_from_names(tmp_path: Path) -> None:
    ann_file, _ = perfect_case(tmp_path)
    metric = CocoMaskMetric(ann_file=ann_file)
    metric.dataset_meta = dict(classes=("star", "disc"))
    small = rectangle(120, 10, 20, 20)
    metric.process(None, [prediction(11, [small], [1], [0.9])])
    assert metric.evaluate(1)["coco/segm_mAP"] == pytest.approx(1.0)


def test_unknown_image_is_named(tmp_path: Path) -> None:
    metric = CocoMaskMetric(ann_file=write_file(tmp_path, []))
    metric.dataset_meta = META
    with pytest.raises(DataError, match="99"):
        metric.process(None, [prediction(99, [], [], [])])


def test_label_beyond_the_classes(tmp_path: Path) -> None:
    ann_file = write_file(tmp_path, [])
    with pytest.raises(DataError, match="3 classes"):
        evaluate(ann_file, [prediction(10, [rectangle(1, 1, 5, 5)], [3], [0.5])])


def test_nothing_evaluated_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image was predicted"):
        evaluate(write_file(tmp_path, []), [])


def test_prints_nothing_of_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ann_file, predictions = perfect_case(tmp_path)
    evaluate(ann_file, predictions)
    assert "index" not in capsys.readouterr().out
