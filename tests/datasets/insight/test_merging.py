"""Merged files: classes by name, new ids, image paths from one folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solo.cli import main
from solo.datasets.coco.annotations import read_annotations
from solo.datasets.insight.merging import merge_sources
from solo.datasets.insight.source import AnnotationSource
from solo.errors import DataError
from tests.helpers.coco_files import annotation, content, write


def two_sources(folder: Path) -> list[AnnotationSource]:
    """Cat 1 and dog 7 in the first; dog 1 and cow 2 in the second."""
    first = content([annotation(1), annotation(2, category_id=7)], num_images=2)
    second = content([annotation(1), annotation(2, category_id=2, iscrowd=1), annotation(3, segmentation=[])])
    second["categories"] = [dict(id=1, name="dog"), dict(id=2, name="cow")]
    for name in "ab":
        (folder / name).mkdir()
    return [AnnotationSource.open(write(folder / name, what)) for name, what in (("a", first), ("b", second))]


def test_classes_ids_and_paths(tmp_path: Path) -> None:
    sources = two_sources(tmp_path)
    merged = merge_sources(sources, tmp_path / "merged.json")
    assert (merged.classes, merged.images, merged.annotations) == (("cat", "dog", "cow"), 3, 4)
    assert (merged.left_out, merged.folder) == (1, tmp_path)
    written = json.loads((tmp_path / "merged.json").read_text())
    assert [(image["id"], image["file_name"]) for image in written["images"]] == [
        (1, "a/1.png"),
        (2, "a/2.png"),
        (3, "b/1.png"),
    ]
    assert all((merged.folder / image["file_name"]).is_file() for image in written["images"])
    assert [(entry["id"], entry["image_id"], entry["category_id"]) for entry in written["annotations"]] == [
        (1, 1, 1),
        (2, 1, 2),
        (3, 3, 2),
        (4, 3, 3),
    ]
    report = read_annotations(tmp_path / "merged.json").report
    assert (report.used, report.crowds, report.left_out) == (3, 1, 0)


def test_renamed_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(source.path) for source in two_sources(tmp_path)]
    words = ["data", "merge", *files, "--out", str(tmp_path / "merged.json"), "--rename"]
    assert main([*words, "cow=cat"]) == 0
    assert [entry["name"] for entry in json.loads((tmp_path / "merged.json").read_text())["categories"]] == [
        "cat",
        "dog",
    ]
    assert "1 unusable annotations were left out" in capsys.readouterr().out
    assert main([*words, "cowe=cat", "--overwrite"]) == 2
    assert "did you mean 'cow'?" in capsys.readouterr().err
    assert main([*words, "cow", "--overwrite"]) == 2
    assert "OLD=NEW" in capsys.readouterr().err


def test_an_image_of_two_files_is_refused(tmp_path: Path) -> None:
    source, _ = two_sources(tmp_path)
    copy = AnnotationSource.open(write(tmp_path / "a", content([annotation(1)]), name="again.json"))
    with pytest.raises(DataError, match=r"both have the image 1\.png"):
        merge_sources([source, copy], tmp_path / "merged.json")
    assert not (tmp_path / "merged.json").exists()


def test_names_stay_where_images_are_not_found(tmp_path: Path) -> None:
    source, other = two_sources(tmp_path)
    for file in (tmp_path / "a").glob("*.png"):
        file.unlink()
    source = AnnotationSource.open(source.path)
    with pytest.raises(DataError, match="both have the image"):
        merge_sources([source, other], tmp_path / "merged.json")
    merged = merge_sources([source], tmp_path / "merged.json")
    assert merged.folder is None
    assert json.loads((tmp_path / "merged.json").read_text())["images"][0]["file_name"] == "1.png"
