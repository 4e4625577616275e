"""A part of a COCO file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solo.datasets.coco.annotations import check_coco_file
from solo.datasets.coco.subset import write_subset
from solo.errors import DataError, OutputError


@pytest.fixture
def coco_file(tmp_path: Path) -> Path:
    """Three images: a large cat and a small dog; a small cat; a large dog and a crowd of cats."""

    def annotation(number: int, image: int, category: int, side: float, iscrowd: int = 0) -> dict:
        outline = [[1, 1, 1 + side, 1, 1 + side, 1 + side, 1, 1 + side]]
        crowd = {"size": [100, 100], "counts": [0, 5000, 5000]}
        return dict(
            id=number,
            image_id=image,
            category_id=category,
            iscrowd=iscrowd,
            bbox=[1, 1, side, side],
            area=side**2,
            segmentation=crowd if iscrowd else outline,
        )

    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", width=100, height=100) for i in (1, 2, 3)],
        categories=[dict(id=7, name="cat"), dict(id=9, name="dog")],
        annotations=[
            annotation(1, 1, 7, 50),
            annotation(2, 1, 9, 10),
            annotation(3, 2, 7, 10),
            annotation(4, 3, 9, 40),
            annotation(5, 3, 7, 60, iscrowd=1),
        ],
    )
    path = tmp_path / "all.json"
    path.write_text(json.dumps(content))
    return path


def read(path: Path) -> tuple[list[int], list[int], list[str]]:
    content = json.loads(path.read_text())
    return (
        [image["id"] for image in content["images"]],
        [annotation["id"] for annotation in content["annotations"]],
        [category["name"] for category in content["categories"]],
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ([1, 2, 3], [1, 2, 3, 4], ["cat", "dog"])),
        ({"num_images": 2}, ([1, 2], [1, 2, 3], ["cat", "dog"])),
        ({"min_side": 32}, ([1, 3], [1, 4], ["cat", "dog"])),
        ({"min_side": 32, "num_images": 1}, ([1], [1], ["cat", "dog"])),
        ({"classes": ["dog"]}, ([1, 3], [2, 4], ["dog"])),
    ],
)
def test_what_is_kept(coco_file, tmp_path, options, expected):
    target = tmp_path / "folder" / "part.json"
    counts = write_subset(coco_file, target, **options)
    assert read(target) == expected
    assert (counts["images"], counts["objects"]) == (len(expected[0]), len(expected[1]))
    assert check_coco_file(target).used == len(expected[1])


def test_what_is_dropped_is_counted(coco_file, tmp_path):
    assert write_subset(coco_file, tmp_path / "part.json", min_side=32)["objects_dropped"] == 2


def test_unknown_class(coco_file, tmp_path):
    with pytest.raises(DataError, match=r"all\.json has no class 'cats'.*'cat'"):
        write_subset(coco_file, tmp_path / "part.json", classes=["cats"])


def test_nothing_left(coco_file, tmp_path):
    with pytest.raises(DataError, match=r"all\.json has no object with a side above 500"):
        write_subset(coco_file, tmp_path / "part.json", min_side=500)
    assert not (tmp_path / "part.json").exists()


def test_the_source_is_never_overwritten(coco_file, tmp_path):
    before = coco_file.read_bytes()
    with pytest.raises(OutputError, match="is a file that this command reads"):
        write_subset(coco_file, coco_file.parent / "." / coco_file.name)
    assert coco_file.read_bytes() == before


def test_another_file_is_overwritten_on_request_only(coco_file, tmp_path):
    target = tmp_path / "part.json"
    target.write_text("notes of the user")
    with pytest.raises(OutputError, match=r"exists already; .*--overwrite"):
        write_subset(coco_file, target)
    assert target.read_text() == "notes of the user"
    write_subset(coco_file, target, overwrite=True)
    assert read(target)


def test_what_cannot_be_written_or_counted(coco_file, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_subset(coco_file, tmp_path)
    with pytest.raises(DataError, match="at least 1, got -1"):
        write_subset(coco_file, tmp_path / "subset.json", num_images=-1)
