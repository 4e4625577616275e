"""A dataset whose images are in another folder is an error when it is built, which suggests the path that exists."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from solo.datasets import CocoInstances
from solo.datasets.coco.image_files import find_missing
from solo.errors import DataError
from tests.helpers.coco_files import build, objects


def renamed(prefix: str, count: int = 3) -> dict[str, Any]:
    """Content whose images have another name than the files that are written."""
    what = objects(count)
    for image in what["images"]:
        image["file_name"] = prefix + image["file_name"]
    return what


def moved(folder: Path, prefix: str, **options: Any) -> Any:
    build(folder, objects(3))
    (folder / "annotations.json").write_text(json.dumps(renamed(prefix)))
    return build(folder, **options)


@pytest.mark.parametrize("test_mode", [False, True])
def test_no_image_is_where_the_file_says(tmp_path: Path, test_mode: bool) -> None:
    message = r"none of its 3 images exists, such as .*images/1\.png \(folder .*; there is .*1\.png"
    with pytest.raises(DataError, match=message):
        moved(tmp_path, "images/", test_mode=test_mode)


def test_folder_that_is_named_twice(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / "train" / name).touch()
    with pytest.raises(DataError, match=r"train/train/1\.png .*; there is .*train/1\.png"):
        moved(tmp_path, "train/", data_prefix=dict(img="train/"))


def test_backslashes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="with / instead of backslashes"):
        moved(tmp_path, "images\\")


def test_training_skips_images_that_are_missing_and_reports_all_of_them(tmp_path: Path) -> None:
    build(tmp_path, objects(5))
    for name in ("1.png", "4.png"):
        os.remove(tmp_path / name)
    dataset = build(tmp_path, max_unreadable=2)
    assert len(dataset) == 5
    assert dataset.report.remarks == [f"2 images are missing and are skipped: {tmp_path}/1.png, {tmp_path}/4.png"]
    with pytest.raises(DataError, match=r"2 of its 5 images .* more than max_unreadable=1: .*1\.png, .*4\.png"):
        build(tmp_path, max_unreadable=1)


def test_testing_needs_all_images_and_names_those_that_are_missing(tmp_path: Path) -> None:
    build(tmp_path, objects(5))
    for name in ("2.png", "5.png"):
        os.remove(tmp_path / name)
    with pytest.raises(DataError, match=r"2 of its 5 images do not exist: \S+2\.png, \S+5\.png$"):
        build(tmp_path, test_mode=True)


def test_missing_files_are_found_in_many_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "a" / "broken.png").symlink_to(tmp_path / "nothing")
    paths = [str(tmp_path / name) for name in ("a/1.png", "a/2.png", "b/1.png", "a/broken.png")]
    assert find_missing([*paths, "\0"]) == [*paths[1:3], "\0"]


def test_a_list_of_annotation_files_is_an_error_that_names_the_wrapper(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one file, got \['a.json', 'b.json'\]: .*ConcatDataset"):
        CocoInstances(ann_file=["a.json", "b.json"])  # type: ignore[arg-type]


def test_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, objects(1))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build(Path("~")).get_data_info(0)["img_path"] == str(tmp_path / "1.png")


def test_other_prefixes_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data_prefix has no 'img_path'"):
        build(tmp_path, objects(1), data_prefix=dict(img_path="train/"))


def test_images_that_another_step_reads_need_no_file(tmp_path: Path) -> None:
    assert len(moved(tmp_path, "archive/", pipeline=[dict])) == 3
