"""A whole checkpoint exists at every moment, also with `max_keep_ckpts=1` and a full disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import solo.checkpoints.saving as saving
from solo.checkpoints import load_checkpoint
from solo.engine.hooks.checkpoint import latest_checkpoint
from solo.engine.training import train
from solo.registry import HOOKS
from tests.helpers.commands import run_tool
from tests.helpers.fakes import write_config

KEEP_ONE = {"default_hooks.checkpoint.max_keep_ckpts": 1, "default_hooks.checkpoint.save_best": "coco/segm_mAP"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pth"))


def test_old_checkpoints_are_removed_after_new_ones_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = tmp_path / "work"
    before_each_save: list[list[str]] = []
    save = saving.save_atomically

    def watch(content: Any, path: str) -> None:
        before_each_save.append(names(work_dir))
        save(content, path)

    monkeypatch.setattr(saving, "save_atomically", watch)
    train(str(write_config(tmp_path)), work_dir=str(work_dir), overrides=KEEP_ONE)
    best = "best_coco_segm_mAP_epoch_1.pth"
    assert names(work_dir) == [best, "epoch_3.pth"]
    assert before_each_save == [
        [],
        ["epoch_1.pth"],
        [best, "epoch_1.pth"],  # again, now that it knows the best one
        [best, "epoch_1.pth"],
        [best, "epoch_2.pth"],
    ]


def test_a_better_checkpoint_replaces_the_best_after_it_is_written(tmp_path: Path) -> None:
    options = dict(interval=1, max_keep_ckpts=1, save_best="coco/segm_mAP", rule="greater")
    hook: Any = HOOKS.build(dict(type="CheckpointHook", **options))
    runner = Saver(tmp_path)
    hook.before_train(runner)
    for epoch, score in enumerate([0.1, 0.2, 0.15, 0.3], start=1):
        runner.epoch = epoch - 1
        hook.after_train_epoch(runner)
        runner.epoch = epoch
        hook.after_val_epoch(runner, {"coco/segm_mAP": score})
    assert names(tmp_path) == ["best_coco_segm_mAP_epoch_4.pth", "epoch_4.pth"]
    runner.fails = True
    runner.epoch = 5
    with pytest.raises(OSError, match="full"):
        hook.after_val_epoch(runner, {"coco/segm_mAP": 0.4})
    with pytest.raises(OSError, match="full"):
        hook.after_train_epoch(runner)
    assert names(tmp_path) == ["best_coco_segm_mAP_epoch_4.pth", "epoch_4.pth"]


class Saver:
    """As much of a runner as the hook asks for."""

    def __init__(self, folder: Path) -> None:
        self.work_dir = str(folder)
        self.epoch = self.iter = 0
        self.max_epochs = 9
        self.fails = False
        self.logger = SimpleNamespace(info=print)
        info: dict[str, Any] = {}
        self.message_hub = SimpleNamespace(runtime_info=info, update_info=info.__setitem__, get_info=info.__getitem__)

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        if self.fails:
            raise OSError("full")
        Path(out_dir, filename).touch()


@pytest.mark.long
def test_a_training_on_a_full_disk_fails_and_can_be_resumed(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    options = [*(f"{key}={value}" for key, value in KEEP_ONE.items()), "model.ballast=1000000"]
    full = ["custom_hooks.0.type=FullDiskHook", "custom_hooks.0.epoch=2"]
    done = run_tool("train.py", config, "--cfg-options", *options, *full, folder=tmp_path)
    work_dir = tmp_path / "work_dirs" / "square"
    assert done.returncode == 2, done.stderr
    last_line = done.stderr.strip().splitlines()[-1]
    assert "epoch_2.pth cannot be written: File too large (" in last_line and last_line.startswith("error: checkpoint")
    assert "Traceback" not in done.stderr
    assert names(work_dir) == ["best_coco_segm_mAP_epoch_1.pth", "epoch_1.pth"]
    assert not list(work_dir.glob("*.unfinished"))
    assert (work_dir / "last_checkpoint").read_text().endswith("epoch_1.pth")
    assert latest_checkpoint(work_dir) == work_dir / "epoch_1.pth"
    assert load_checkpoint(work_dir / "epoch_1.pth")["optimizer"]["param_groups"]
    done = run_tool("train.py", config, "--resume", "--cfg-options", *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(work_dir) == ["best_coco_segm_mAP_epoch_1.pth", "epoch_3.pth"]


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


def test_nothing_there(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None
    files(tmp_path, "last_checkpoint", "best_coco_segm_mAP_epoch_3.pth", "epoch_4.pth.unfinished")
    assert latest_checkpoint(tmp_path) is None


def test_the_pointer_wins(tmp_path: Path) -> None:
    files(tmp_path, "epoch_1.pth", "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_1.pth"


@pytest.mark.parametrize("pointer", ["", "\n", "nowhere/epoch_9.pth", None])
def test_without_a_usable_pointer_the_highest_number_wins(tmp_path: Path, pointer: str | None) -> None:
    files(tmp_path, "epoch_9.pth" if pointer is None else "epoch_8.pth", "epoch_10.pth", "best_epoch_11.pth")
    if pointer is not None:
        (tmp_path / "last_checkpoint").write_text(pointer)
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_10.pth"


def test_a_folder_that_was_moved_keeps_its_checkpoint(tmp_path: Path) -> None:
    files(tmp_path, "iter_100.pth", "iter_200.pth")
    (tmp_path / "last_checkpoint").write_text("/elsewhere/iter_100.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_100.pth"


@pytest.mark.parametrize(
    "pointer",
    [
        b"\xff\xfe\x00",
        b"\x00",
        b"a\x00b.pth",
        b"x" * 10_000,
        b"..",
        b"../other",
        b"/",
        b"last_checkpoint",
        b"http://x/y.pth",
    ],
)
def test_a_pointer_of_odd_bytes_is_ignored(tmp_path: Path, pointer: bytes) -> None:
    files(tmp_path, "epoch_1.pth", "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_bytes(pointer)
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_2.pth"


@pytest.mark.parametrize("is_relative", [True, False])
def test_a_pointer_names_a_file_of_its_own_folder_only(tmp_path: Path, is_relative: bool) -> None:
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    files(work_dir, "epoch_1.pth")
    files(tmp_path, "elsewhere.pth")
    (work_dir / "last_checkpoint").write_text("../elsewhere.pth" if is_relative else str(tmp_path / "elsewhere.pth"))
    assert latest_checkpoint(work_dir) == work_dir / "epoch_1.pth"
