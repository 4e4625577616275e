"""`solo data convert`: what it prints, and its errors on one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from solo.cli import main
from solo.datasets import check_coco_file
from tests.helpers.format_files import write_labelme, write_mask_files


def test_a_labelme_folder_to_yolo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_labelme(tmp_path / "pictures"), tmp_path / "yolo"
    assert main(["data", "convert", str(source), str(target), "--to", "yolo"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{target}: 1 images, 2 objects, 0 crowd regions",
        "  read as labelme",
        "  2 masks written as polygons: 2 equal pixel by pixel, lowest IoU 1.0000",
        "  1 left out, shape without an area (point, line): a.json:3",
        "  1 left out, shape without label or usable points: a.json:4",
    ]
    report = check_coco_file(target)
    assert (report.images, report.used, report.annotations) == (1, 2, 2)


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_mask_files(tmp_path / "masks", "class-maps"), str(tmp_path / "coco")
    words = [str(source), target, "--from", "class-maps", "--classes", "cat", "dog", "--masks", "rle"]
    assert main(["data", "convert", *words, "--images", "link"]) == 0
    assert "1 images, 3 objects" in capsys.readouterr().out
    assert (tmp_path / "coco" / "train" / "a.png").is_symlink()


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["data", "convert", str(tmp_path / "empty"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/empty holds no data set of a known format (yolo: data.yaml;")
    assert error.count("\n") == 1
    write_labelme(tmp_path / "pictures")
    (tmp_path / "pictures" / "b\x1b.json").write_text("{")
    assert main(["data", "convert", str(tmp_path / "pictures"), str(tmp_path / "out")]) == 2
    assert r"b\x1b.json is not JSON" in capsys.readouterr().err
