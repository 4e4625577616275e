"""A short version of `python -m tests.fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import (
    fuzz_annotations,
    fuzz_checkpoints,
    fuzz_evaluations,
    fuzz_files,
    fuzz_image_sizes,
    fuzz_images,
    fuzz_records,
)

SEED = 5


def test_damaged_annotations_are_used_or_counted(tmp_path: Path) -> None:
    found = fuzz_annotations(600, seed=SEED, folder=tmp_path)
    assert found["annotations"] == 600
    assert found["used"] > 50
    assert found["steps"] > 2


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    found = fuzz_files(150, seed=SEED, folder=tmp_path)
    assert found["read"] + found["refused"] == 150
    assert min(found["read"], found["refused"]) > 20


def test_damaged_images_are_used_or_replaced_and_counted(tmp_path: Path) -> None:
    found = fuzz_images(60, seed=SEED, folder=tmp_path)
    assert found["used"] + found["replaced"] + found["refused"] == 60
    assert found["replaced"] == found["unreadable"] > 10
    assert found["used"] > 10


def test_false_sizes_of_images(tmp_path: Path) -> None:
    found = fuzz_image_sizes(400, seed=SEED, folder=tmp_path)
    assert found["read"] + found["too large"] + found["refused"] == 400
    assert min(found["read"], found["too large"], found["refused"]) > 20


def test_damaged_checkpoints(tmp_path: Path) -> None:
    found = fuzz_checkpoints(400, seed=SEED, folder=tmp_path)
    assert found["equal"] + found["read with other values"] + found["refused"] == 400
    assert min(found["equal"], found["refused"]) > 5


def test_damaged_records_of_evaluations(tmp_path: Path) -> None:
    found = fuzz_records(200, seed=SEED, folder=tmp_path)
    assert sum(found.values()) == 400
    assert min(found["equal"], found["refused"]) > 10


def test_damaged_annotations_are_evaluated_equally_by_both_backends(tmp_path: Path) -> None:
    pytest.importorskip("hotcoco", reason="needs hotcoco")
    found = fuzz_evaluations(60, seed=SEED, folder=tmp_path)
    assert found["equal"] + found["without objects"] == 60
    assert found["equal"] > 40
