"""benchmarks/small_data: results of every contender in one form, and figures from them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.small_data.__main__ import CONTENDERS, average_precision, main, spread
from benchmarks.small_data.results import Detections, detections_of_bitmaps, write_predictions
from tests.helpers.coco_files import annotation, content


def write_annotations(path: Path) -> Path:
    path.write_text(json.dumps(content([annotation(1), annotation(2, category_id=7, image_id=2)], num_images=2)))
    return path


def predict_squares(path: Path) -> Detections:
    """The square of `annotation`, and a wrong one with a lower score."""
    masks = np.zeros((2, 16, 24), bool)
    masks[0, 2:10, 2:10] = True
    masks[1, 12:, 12:] = True
    return detections_of_bitmaps(np.array([1, 0]), np.array([0.9, 0.2]), masks)


def test_predictions_become_results_with_the_ids_of_the_file(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "a.json")
    options = argparse.Namespace(annotations=annotations, images=tmp_path, out=tmp_path / "out.json")
    write_predictions(predict_squares, options)
    written = json.loads(options.out.read_text())
    ids = [category["id"] for category in json.loads(annotations.read_text())["categories"]]
    assert [found["category_id"] for found in written["results"]] == [ids[1], ids[0]] * 2
    assert [found["image_id"] for found in written["results"]] == [1, 1, 2, 2]
    assert written["milliseconds"] > 0
    # One class is found in one of its images and wrongly in another; of the other there is no right one.
    assert 0 < average_precision(annotations, written["results"])["mask_ap"] < 1


def test_true_masks_have_an_ap_of_1(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "a.json")
    mask = np.zeros((1, 16, 24), np.uint8)
    mask[0, 2:10, 2:10] = 1
    (found,) = detections_of_bitmaps(np.array([0]), np.array([1.0]), mask)
    results = [dict(found, image_id=image, category_id=category) for image, category in ((1, 1), (2, 7))]
    assert average_precision(annotations, results) == pytest.approx({"mask_ap": 1.0, "boundary_ap": 1.0})


def test_no_detection_at_all_is_an_ap_of_0(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "a.json")
    assert average_precision(annotations, []) == {"mask_ap": 0.0, "boundary_ap": 0.0}


def test_figures_are_spread_over_seeds() -> None:
    assert spread([{"a": 1.0}, {"a": 4.0}, {"a": 1.0}]) == {"a": [2.0, 1.0, 4.0]}


@pytest.mark.parametrize("step", ["train", "evaluate", "picture"])
def test_help_of_each_step(step: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["small_data", step, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "--data" in capsys.readouterr().out


def test_every_contender_names_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "last_checkpoint").write_text("/elsewhere/epoch_3.pth")
    options = argparse.Namespace(data=tmp_path, yolo_python="python")
    words = {name: each.predict(tmp_path, options) for name, each in CONTENDERS.items()}
    assert words["solo"][-1] == str(tmp_path / "epoch_3.pth")
    assert words["yolo"][-1] == str(tmp_path / "weights" / "last.pt")
    assert words["mmdet"][-1] == str(tmp_path)
