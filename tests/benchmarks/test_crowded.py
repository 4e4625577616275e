"""A crowd is drawn as large as asked for, and its annotations pass the checks."""

from __future__ import annotations

from pathlib import Path

from benchmarks.crowded import NUM_IMAGES, write_crowded
from solo.datasets import check_coco_file


def test_every_object_can_be_used(tmp_path: Path) -> None:
    ann_file, pictures = write_crowded(tmp_path, num_objects=60)
    report = check_coco_file(ann_file)
    assert report.used == 60 * NUM_IMAGES
    assert not report.left_out
    assert len(list(pictures.glob("*.png"))) == NUM_IMAGES


def test_a_seed_draws_the_same(tmp_path: Path) -> None:
    files = [write_crowded(tmp_path / name, num_objects=5, seed=3)[0] for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
