"""Files, folders and patterns; visualisations and json."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.errors import OutputError
from solo.inference.predict_files import predict_files
from solo.inference.predictor import SOLOPredictor
from solo.inference.sources.paths import find_images
from tests.helpers.fakes import SIDE, write_checkpoint, write_config
from tests.helpers.odd_files import make_endless, png_bomb


@pytest.fixture
def predictor(tmp_path: Path) -> SOLOPredictor:
    return SOLOPredictor(write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth"), device="cpu")


def test_visualisations_and_json(predictor: SOLOPredictor, tmp_path: Path) -> None:
    images = [tmp_path / "data" / "0.png", tmp_path / "other" / "0.png"]
    images[1].parent.mkdir()
    cv2.imwrite(str(images[1]), np.zeros((SIDE, SIDE + 8, 3), np.uint8))
    out_dir = tmp_path / "results"
    summary = predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3)
    assert (summary.images, summary.objects, summary.unreadable) == (2, 2, [])
    assert {path.name for path in out_dir.iterdir()} == {"0.png", "0_2.png", "predictions.json"}
    content = json.loads((out_dir / "predictions.json").read_text())
    assert [entry["file_name"] for entry in content["images"]] == [str(path) for path in images]
    assert content["images"][1]["width"] == SIDE + 8
    second = content["annotations"][1]
    assert (second["id"], second["image_id"], second["category"], second["category_id"]) == (2, 2, "bright", 2)
    assert second["bbox"] == [4, 4, 16, 16]
    assert mask_api.area(second["segmentation"]) == 256
    assert content["images"][1]["visualization"] == "0_2.png"
    drawn = cv2.imread(str(out_dir / "0_2.png"))
    assert drawn.shape == (4 * SIDE, 4 * (SIDE + 8), 3)  # small images are enlarged
    assert drawn[4 * 24 :].sum() == 0
    assert drawn.sum() > 0


def test_pycocotools_takes_the_json_as_ground_truth_and_as_results(predictor: SOLOPredictor, tmp_path: Path) -> None:
    predict_files(
        sorted((tmp_path / "data").glob("*.png"))[:3], predictor=predictor, out_dir=tmp_path / "results", score_thr=0.3
    )
    path = tmp_path / "results" / "predictions.json"
    truth = COCO(str(path))
    evaluation = COCOeval(truth, truth.loadRes(json.loads(path.read_text())["annotations"]), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_low_scores_are_left_out(predictor: SOLOPredictor, tmp_path: Path) -> None:
    summary = predict_files(
        [tmp_path / "data" / "0.png"], predictor=predictor, out_dir=tmp_path / "results", score_thr=0.99
    )
    assert (summary.images, summary.objects) == (1, 0)
    assert json.loads((tmp_path / "results" / "predictions.json").read_text())["annotations"] == []


def test_unreadable_file_is_skipped_and_named(predictor: SOLOPredictor, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    summary = predict_files(
        [broken, tmp_path / "data" / "0.png"], predictor=predictor, out_dir=tmp_path / "results", score_thr=0.3
    )
    assert summary.images == 1
    assert len(summary.unreadable) == 1
    assert "broken.png" in summary.unreadable[0]


def test_visualisations_never_overwrite_images(predictor: SOLOPredictor, tmp_path: Path) -> None:
    image = tmp_path / "data" / "0.png"
    before = image.read_bytes()
    (tmp_path / "other").mkdir()
    out_dir = tmp_path / "other" / ".." / "data"
    with pytest.raises(OutputError, match=r"0\.png is a file that this command reads"):
        predict_files([image], predictor=predictor, out_dir=out_dir, score_thr=0.3, overwrite=True)
    assert image.read_bytes() == before


@pytest.mark.parametrize("name", ["0.png", "predictions.json"])
def test_only_results_of_predictions_are_replaced(predictor: SOLOPredictor, tmp_path: Path, name: str) -> None:
    """A second prediction into a folder replaces the first; a file of the user needs `overwrite`."""
    images, out_dir = [tmp_path / "data" / "0.png"], tmp_path / "results"
    for _ in range(2):
        predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3)
    (out_dir / name).write_bytes(images[0].read_bytes())
    with pytest.raises(OutputError, match=rf"{name} exists already; .*--overwrite"):
        predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3)
    assert (out_dir / name).read_bytes() == images[0].read_bytes()
    predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3, overwrite=True)
    assert (out_dir / name).read_bytes() != images[0].read_bytes()


@pytest.mark.parametrize("name", ["0.png", "predictions.json"])
def test_links_in_the_output_folder_are_not_followed(predictor: SOLOPredictor, tmp_path: Path, name: str) -> None:
    images, out_dir = [tmp_path / "data" / "0.png"], tmp_path / "results"
    predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3)
    precious = tmp_path / "precious"
    (out_dir / name).rename(precious)
    before = precious.read_bytes()
    (out_dir / name).symlink_to(precious)
    with pytest.raises(OutputError, match=rf"{name} exists already"):
        predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3)
    predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.99, overwrite=True)
    assert precious.read_bytes() == before
    assert not (out_dir / name).is_symlink()


def test_the_longest_names_stay_apart(predictor: SOLOPredictor, tmp_path: Path) -> None:
    stems = ["x" * 251, "x" * 251, "ü" * 125, "ü" * 125]
    images = [tmp_path / str(number) / f"{stem}.png" for number, stem in enumerate(stems)]
    for image in images:
        image.parent.mkdir()
        image.write_bytes((tmp_path / "data" / "0.png").read_bytes())
    out_dir = tmp_path / "results"
    assert predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3).images == 4
    names = [entry["visualization"] for entry in json.loads((out_dir / "predictions.json").read_text())["images"]]
    assert names == ["x" * 230 + ".png", "x" * 230 + "_2.png", "ü" * 115 + ".png", "ü" * 115 + "_2.png"]
    assert all((out_dir / name).is_file() for name in names)


def test_folder_that_cannot_be_made(predictor: SOLOPredictor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be created"):
        predict_files([tmp_path / "data" / "0.png"], predictor=predictor, out_dir=tmp_path / "file", score_thr=0.3)


def test_an_image_without_area_after_the_resize_is_skipped(predictor: SOLOPredictor, tmp_path: Path) -> None:
    path = tmp_path / "row.png"
    cv2.imwrite(str(path), np.zeros((1, 30000, 3), np.uint8))

    def resize(results: dict) -> dict:
        return {"img": cv2.resize(results["img"], (8, 0))}

    predictor._model._pipeline.transforms.insert(1, resize)
    summary = predict_files([path], predictor=predictor, out_dir=tmp_path / "results", score_thr=0.3)
    assert len(summary.unreadable) == 1
    assert "row.png" in summary.unreadable[0]


def test_an_interrupted_prediction_leaves_what_it_found(predictor: SOLOPredictor, tmp_path: Path) -> None:
    class Interrupting:
        classes = predictor.classes
        calls = 0

        def __call__(self, image: np.ndarray) -> object:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return predictor(image)

    images = sorted((tmp_path / "data").glob("*.png"))[:2]
    with pytest.raises(KeyboardInterrupt):
        predict_files(images, predictor=Interrupting(), out_dir=tmp_path / "results", score_thr=0.3)
    content = json.loads((tmp_path / "results" / "predictions.json").read_text())
    assert len(content["images"]) == len(content["annotations"]) == 1


def test_bombs_pipes_devices_and_odd_names_cost_no_other_image(predictor: SOLOPredictor, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for path in sorted(folder.glob("*.png"))[1:]:
        path.unlink()
    (folder / "bomb.png").write_bytes(png_bomb())
    make_endless(folder / "fifo.png", "fifo")
    make_endless(folder / "device.png", "device")
    odd = folder / os.fsdecode(b"odd\xff.png")
    odd.write_bytes((folder / "0.png").read_bytes())
    out_dir = tmp_path / "results"

    images = find_images([str(folder), str(folder / "fifo.png")])
    summary = predict_files(images, predictor=predictor, out_dir=out_dir, score_thr=0.3)
    assert summary.images == 2
    reasons = ["30000 x 30000 pixels, more than", "is not a regular file", "is not a regular file"]
    assert all(reason in message for reason, message in zip(reasons, summary.unreadable, strict=True))
    assert (out_dir / odd.name).is_file()
    names = [entry["file_name"] for entry in json.loads((out_dir / "predictions.json").read_text())["images"]]
    assert names == [str(folder / "0.png"), str(odd)]
