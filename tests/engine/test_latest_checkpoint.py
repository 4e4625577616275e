"""The checkpoint to go on from, also where `last_checkpoint` is of no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from solo.engine.latest_checkpoint import latest_checkpoint


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


def test_nothing_there(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None
    files(tmp_path, "last_checkpoint", "best_coco_segm_mAP_epoch_3.pth", "epoch_4.pth.unfinished")
    assert latest_checkpoint(tmp_path) is None


def test_the_pointer_counts(tmp_path: Path) -> None:
    files(tmp_path, "epoch_1.pth", "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_1.pth"


@pytest.mark.parametrize("pointer", ["", "\n", "nowhere/epoch_9.pth", None])
def test_a_torn_or_outdated_pointer_gives_way_to_the_highest_number(tmp_path: Path, pointer: str | None) -> None:
    files(tmp_path, "epoch_9.pth" if pointer is None else "epoch_8.pth", "epoch_10.pth", "best_epoch_11.pth")
    if pointer is not None:
        (tmp_path / "last_checkpoint").write_text(pointer)
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_10.pth"


def test_a_folder_that_was_moved_keeps_its_checkpoint(tmp_path: Path) -> None:
    files(tmp_path, "iter_100.pth", "iter_200.pth")
    (tmp_path / "last_checkpoint").write_text("/elsewhere/iter_100.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_100.pth"
