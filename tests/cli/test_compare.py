"""`solo compare` on results of `solo test` and of `solo predict`; each mistake in a file is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from solo.cli import main
from tests.helpers.evaluation import CATEGORY_IDS, CLASSES
from tests.helpers.reports import random_images


@pytest.fixture
def results(tmp_path: Path) -> list[dict[str, Any]]:
    """Detections of four images beside `annotations.json`."""
    _, detections = random_images(tmp_path, 1)
    return [result for image in detections for result in image.to_coco(CATEGORY_IDS)]


def write(folder: Path, name: str, content: Any) -> str:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder / name)


def run(folder: Path, first: Any, second: Any, *options: str) -> int:
    files = [write(folder, f"{name}.json", content) for name, content in (("a", first), ("b", second))]
    return main(["compare", *files, "--annotations", str(folder / "annotations.json"), "--resamples", "20", *options])


def test_table(tmp_path: Path, results: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, results, results[1:]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert rows == ["A", "AP", "AP", "AP", *CLASSES, "4"]


def test_predictions_of_solo_predict(
    tmp_path: Path, results: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Images are found by file name, classes by name, whatever their ids."""
    predictions = dict(
        images=[dict(id=number, file_name=f"photos/{number}.png") for number in range(4)],
        categories=[dict(id=label + 1, name=name) for label, name in enumerate(CLASSES)],
        annotations=[
            {**r, "image_id": r["image_id"] - 10, "category_id": CATEGORY_IDS.index(r["category_id"]) + 1}
            for r in results
        ],
    )
    assert run(tmp_path, results, predictions) == 0
    assert "+0.000" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[", "a.json is no JSON"),
        ({"images": []}, "expected a list of results, or a dict"),
        ([3], "result 0: expected a dict with image_id"),
        (dict(image_id=99), "image 99 is not in"),
        (dict(category_id=4), "category 4 is not in"),
        (dict(score="high"), "result 0: expected a number as score, got 'high'"),
        (dict(segmentation=[[1, 2, 3, 4, 5, 6]]), "result 0: expected a mask as compressed RLE"),
        (dict(segmentation=dict(size=[5, 5], counts="0")), "a mask of [5, 5] in an image of [120, 160]"),
        (dict(segmentation=dict(size=[120, 160], counts="0\x1b")), "error"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    results: list[dict[str, Any]],
    change: Any,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = [{**results[0], **change}, *results[1:]] if isinstance(change, dict) and "images" not in change else change
    assert run(tmp_path, first, results) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "\x1b" not in error


@pytest.mark.parametrize("options", [("--resamples", "0"), ("--seed", "-1"), ("--max-dets", "0")])
def test_options_out_of_range(
    tmp_path: Path, results: list[dict[str, Any]], options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, results, results, *options) == 2
    assert f"{options[0]} must be at least" in capsys.readouterr().err
