"""Splits: fractions, groups, classes, and the files that are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from solo.cli import main
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.splitting import GroupKey, split_images
from solo.errors import ConfigError, DataError
from tests.helpers.coco_files import annotation, content, write


def source(folder: Path, num_images: int = 20, **changes: Any) -> AnnotationSource:
    """Every image has a cat, every fifth a dog too; images 1 and 2, 3 and 4, ... are of one patient."""
    annotations = [annotation(number, image_id=number) for number in range(1, num_images + 1)]
    annotations += [
        annotation(100 + number, image_id=number, category_id=7, iscrowd=changes.get("iscrowd", 0))
        for number in range(1, num_images + 1, 5)
    ]
    what = content(annotations, num_images=num_images)
    for image in what["images"]:
        image["patient"] = (image["id"] - 1) // 2
        image["file_name"] = f"p{image['patient']}_{image['id']}.png"
    return AnnotationSource.open(write(folder, what))


def test_fractions_of_images_and_of_each_class(tmp_path: Path) -> None:
    parts = split_images(source(tmp_path), [0.5, 0.25, 0.25], key=GroupKey())
    assert [len(part) for part in parts] == [10, 5, 5]
    assert sorted(index for part in parts for index in part) == list(range(20))
    assert [sum(index % 5 == 0 for index in part) for part in parts] == [2, 1, 1]


def test_the_seed_decides(tmp_path: Path) -> None:
    images = source(tmp_path)
    first, again, other = (split_images(images, [0.5, 0.5], key=GroupKey(), seed=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("key", [GroupKey(pattern=r"^p\d+_"), GroupKey(pattern=r"^(p\d+)_"), GroupKey(field="patient")])
def test_groups_stay_together(tmp_path: Path, key: GroupKey) -> None:
    for part in split_images(source(tmp_path), [0.7, 0.3], key=key):
        assert {index ^ 1 for index in part} == set(part)


def test_no_part_is_empty(tmp_path: Path) -> None:
    parts = split_images(source(tmp_path, num_images=3), [0.98, 0.01, 0.01], key=GroupKey())
    assert [len(part) for part in parts] == [1, 1, 1]


@pytest.mark.parametrize("fractions", [[1.0], [0.5, 0.4], [1.2, -0.2], [0.25] * 4])
def test_wrong_fractions(tmp_path: Path, fractions: list[float]) -> None:
    with pytest.raises(ConfigError, match="sum 1"):
        split_images(source(tmp_path), fractions, key=GroupKey())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (GroupKey(pattern="^x"), "p0_1.png.*does not match"),
        (GroupKey(field="slide"), "no key 'slide'.*patient"),
        (GroupKey(pattern="p"), "1 groups of images, fewer than the 2 parts"),
    ],
)
def test_images_without_a_group(tmp_path: Path, key: GroupKey, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_images(source(tmp_path), [0.5, 0.5], key=key)
    with pytest.raises(ConfigError, match="no regular expression"):
        GroupKey(pattern="(")
    with pytest.raises(ConfigError, match="not by both"):
        GroupKey(pattern="p", field="patient")


def test_written_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = source(tmp_path, iscrowd=1)
    words = ["data", "split", str(images.path), "--out", str(tmp_path / "split"), "--group-key", "patient"]
    assert main(words) == 0
    assert f"image folder of all parts: {tmp_path}" in capsys.readouterr().out
    parts = [json.loads((tmp_path / f"split/instances_{name}.json").read_text()) for name in ("train", "val")]
    whole = json.loads(images.path.read_text())
    assert (
        sorted((image for part in parts for image in part["images"]), key=lambda image: image["id"]) == whole["images"]
    )
    assert sum(len(part["annotations"]) for part in parts) == len(whole["annotations"]), "crowd regions too"
    assert {entry["id"] for part in parts for entry in part["annotations"]} == {e["id"] for e in whole["annotations"]}
    for part in parts:
        assert {category["name"] for category in part["categories"]} == {"cat", "dog"}
        assert {entry["image_id"] for entry in part["annotations"]} == {image["id"] for image in part["images"]}
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
