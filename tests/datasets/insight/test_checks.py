"""Checks before training, on files with one fault each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solo.cli import main
from solo.datasets.insight.checks import check_sources
from solo.datasets.insight.findings import Finding, findings_table
from tests.helpers.coco_files import SQUARE, annotation, content, write


def findings(*paths: Path, **options: Any) -> dict[tuple[str, str], Finding]:
    """The findings that are not in order, by check and file name."""
    found = check_sources(paths, **options)
    return {(each.check, Path(each.file).name): each for each in found if each.severity != "ok"}


def sound(folder: Path, *, name: str = "train.json", num_images: int = 2, **changes: Any) -> Path:
    """A file without faults: two classes with ten objects each, which differ from one another."""
    folder.mkdir(exist_ok=True)
    annotations = [
        annotation(
            number,
            image_id=1 + number % num_images,
            category_id=(1, 7)[number % 2],
            bbox=[2.0 + number % 10, 2.0 + number // 10, 8.0, 8.0],
            segmentation=[[x + (number // 10 if i % 2 else number % 10) for i, x in enumerate(SQUARE[0])]],
        )
        for number in range(20)
    ]
    return write(folder, content(annotations, num_images=num_images) | changes, name=name)


def test_nothing_is_found_in_sound_files(tmp_path: Path) -> None:
    train = sound(tmp_path / "a")
    val = sound(tmp_path / "b", name="val.json")
    for number in (1, 2):  # other images
        cv2.imwrite(str(tmp_path / f"b/{number}.png"), np.full((16, 24, 3), 100 + number, np.uint8))
    assert not findings(train, val)


def test_annotations_that_training_leaves_out_and_repairs(tmp_path: Path) -> None:
    faulty = [annotation(1), annotation(2, segmentation=[]), annotation(3, area="x"), annotation(4, category_id=3)]
    found = findings(write(tmp_path, content(faulty), name="a.json"))
    assert found["annotations", "a.json"].count == 2
    assert found["annotations", "a.json"].severity == "warning"
    assert "without segmentation" in found["annotations", "a.json"].text
    assert found["repairs", "a.json"].examples == [3]


def test_a_file_without_usable_objects_fails(tmp_path: Path) -> None:
    found = findings(write(tmp_path, content([annotation(1, iscrowd=1)]), name="a.json"))
    assert found["objects", "a.json"].severity == "failure"


@pytest.mark.parametrize(("num_missing", "severity"), [(1, "warning"), (10, "warning"), (11, "failure")])
def test_training_skips_few_missing_images(tmp_path: Path, num_missing: int, severity: str) -> None:
    path = sound(tmp_path, num_images=12)
    for number in range(1, num_missing + 1):
        (tmp_path / f"{number}.png").unlink()
    found = findings(path, images=[str(tmp_path)])["missing images", "train.json"]
    assert (found.count, found.severity) == (num_missing, severity)


def test_an_evaluation_needs_all_images(tmp_path: Path) -> None:
    train = sound(tmp_path / "a")
    val = sound(tmp_path / "b", name="val.json", num_images=3)
    (tmp_path / "b/3.png").unlink()
    assert findings(train, val)["missing images", "val.json"].severity == "failure"


def test_without_any_image_the_folder_is_asked_for(tmp_path: Path) -> None:
    path = sound(tmp_path)
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert findings(path)["images", "train.json"].severity == "warning"
    assert "--images" in findings(path)["images", "train.json"].text
    assert not findings(path, with_images=False)
    assert findings(path, images=[str(tmp_path)])["missing images", "train.json"].severity == "failure"


def test_sizes_are_compared_with_the_headers(tmp_path: Path) -> None:
    path = sound(tmp_path)
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((16, 25, 3), np.uint8))
    found = findings(path)["image sizes", "train.json"]
    assert (found.severity, found.count) == ("failure", 1)
    assert "25 x 16 pixels" in found.examples[0] and "24 x 16" in found.examples[0]


def test_truncated_images_are_found_without_decoding(tmp_path: Path) -> None:
    path = sound(tmp_path)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-12])
    found = findings(path)["unreadable images", "train.json"]
    assert (found.severity, found.count) == ("warning", 1)
    assert "truncated" in found.examples[0]


def test_equal_images_within_a_file_and_across_files(tmp_path: Path) -> None:
    train = sound(tmp_path / "a", num_images=3)
    shutil.copy(tmp_path / "a/1.png", tmp_path / "a/3.png")
    val = sound(tmp_path / "b", name="val.json")
    cv2.imwrite(str(tmp_path / "b/1.png"), np.full((16, 24, 3), 77, np.uint8))
    found = findings(train, val)
    assert found["duplicate images", "train.json"].examples == [f"{tmp_path}/a/1.png = {tmp_path}/a/3.png"]
    assert ("duplicate images", "val.json") not in found
    assert found["images in several files", ""].examples == [f"{tmp_path}/a/2.png = {tmp_path}/b/2.png"]


def test_masks(tmp_path: Path) -> None:
    near_empty = annotation(1, segmentation=[[2, 2, 4, 2, 4, 4, 2, 4]], bbox=[2, 2, 2, 2])
    thin = annotation(2, segmentation=dict(size=[16, 24], counts=diagonal()), bbox=[0, 0, 24, 16])
    wrong_box = annotation(3, bbox=[10, 2, 8, 8])
    first, again, other_class = annotation(4), annotation(5), annotation(6, category_id=7)
    path = write(tmp_path, content([near_empty, thin, wrong_box, first, again, other_class]), name="a.json")
    found = findings(path)
    assert found["near-empty masks", "a.json"].examples == [1]
    assert found["thin masks", "a.json"].examples == [2]
    assert found["boxes", "a.json"].examples == [3]
    assert found["duplicate objects", "a.json"].examples == [5]


def diagonal() -> list[int]:
    """Uncompressed RLE of 16 pixels from corner to corner of 24 x 16 pixels, 4 % of them."""
    mask = np.zeros((16, 24), np.uint8)
    mask[np.arange(16), np.linspace(0, 23, 16).astype(int)] = 1
    flat = np.concatenate([[0], mask.ravel(order="F"), [0]])
    edges = np.flatnonzero(np.diff(flat))
    return [*np.diff([0, *edges]).tolist(), len(flat) - 2 - int(edges[-1])]


def test_classes(tmp_path: Path) -> None:
    few = findings(write(tmp_path, content([annotation(1)]), name="a.json"))
    assert few["class balance", "a.json"].examples == ["cat"]
    assert few["classes without objects", "a.json"].examples == ["dog"]


def test_files_of_other_classes_fail(tmp_path: Path) -> None:
    train = sound(tmp_path)
    for names, differing in ((("cat", "cow"), ["cow", "dog"]), (("dog", "cat"), ["dog", "cat"])):
        categories = [dict(id=1, name=names[0]), dict(id=7, name=names[1])]
        val = sound(tmp_path, name="val.json", categories=categories)
        found = findings(train, val)["same classes", "val.json"]
        assert (found.severity, list(found.examples)) == ("failure", differing)


def test_table_has_a_column_a_file_and_escapes_what_files_say(tmp_path: Path) -> None:
    train = sound(tmp_path)
    categories = [dict(id=1, name="cat\x1b[31m"), dict(id=7, name="dog")]
    val = sound(tmp_path, name="val.json", categories=categories)
    text = findings_table(check_sources([train, val]))
    assert text.startswith(f"file 1: {train}\nfile 2: {val}\n")
    (row,) = (line for line in text.splitlines() if line.startswith("same classes"))
    assert row.split()[2:5] == ["-", "2", "failure"]
    assert "failure: " in text and "\x1b" not in text


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(sound(tmp_path))
    assert main(["data", "check", path, "--strict"]) == 0
    few = str(write(tmp_path, content([annotation(1)]), name="few.json"))
    assert main(["data", "check", few]) == 0, "warnings alone"
    assert main(["data", "check", few, "--strict"]) == 1
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((16, 25, 3), np.uint8))
    capsys.readouterr()
    assert main(["data", "check", path, "--json"]) == 1
    found = {each["check"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["image sizes"]["severity"] == "failure" and found["annotations"]["seconds"] > 0
    assert main(["data", "check", path, "--no-images"]) == 0
    assert main(["data", "check", path, few, path, "--images", "a", "b"]) == 2
    assert "2 image folders for 3 annotation files" in capsys.readouterr().err
