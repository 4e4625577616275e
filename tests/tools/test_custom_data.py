"""The config template for custom data: copy the file, set two lines, run the commands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from solo.config import load_config
from solo.datasets.shapes.dataset import SHAPES_CLASSES, ensure_shapes
from tests.helpers.commands import run_tool
from tests.helpers.paths import CONFIGS

STARTER = "solov2-nano_custom.py"


def copied_starter(folder: Path, *, data_root: Path, classes: tuple[str, ...]) -> Path:
    """A copy of the starter beside it, with the two lines set as a user sets them."""
    shutil.copytree(CONFIGS, folder / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "configs" / "custom" / STARTER).read_text()
    for name, value in (("data_root", f"{data_root}/"), ("classes", classes)):
        text, times = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
        assert times == 1
    copy = folder / "configs" / "custom" / "mine.py"
    copy.write_text(text)
    return copy


def test_two_lines_reach_data_and_model(tmp_path: Path) -> None:
    config = load_config(copied_starter(tmp_path, data_root=tmp_path / "mine", classes=("cat", "dog", "fish")))
    assert config.model.num_classes == 3
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert (loader.dataset.data_root, loader.dataset.classes) == (f"{tmp_path}/mine/", ("cat", "dog", "fish"))
    assert config.train_dataloader.dataset.ann_file == "annotations/instances_train.json"
    assert config.test_dataloader.dataset.data_prefix == dict(img="val/")


def train_two_steps(folder: Path, config: Path, *options: str) -> str:
    done = run_tool("train.py", config, "--cfg-options", "train_cfg.max_epochs=1", *options, folder=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "work_dirs" / "mine" / "epoch_1.pth").is_file()
    return done.stdout


@pytest.mark.long
def test_trains_and_tests_on_drawn_shapes(tmp_path: Path) -> None:
    ensure_shapes(str(tmp_path / "drawn"), num_train=16, num_val=2, image_size=160, seed=0)
    config = copied_starter(tmp_path, data_root=tmp_path / "drawn", classes=tuple(SHAPES_CLASSES))
    assert "mask" in train_two_steps(tmp_path, config)
    tested = run_tool("test.py", config, "work_dirs/mine/epoch_1.pth", folder=tmp_path)
    assert tested.returncode == 0, tested.stderr


@pytest.mark.long
def test_trains_on_nuclei(shared_data: Path, tmp_path: Path) -> None:
    """The folder as it is; only how much of it is used is cut for the test."""
    config = copied_starter(tmp_path, data_root=shared_data / "nuclei256", classes=("nucleus",))
    train_two_steps(tmp_path, config, "train_dataloader.dataset.indices=16", "train_cfg.val_begin=2")


@pytest.mark.long
def test_a_wrong_class_name_is_an_error(tmp_path: Path) -> None:
    ensure_shapes(str(tmp_path / "drawn"), num_train=2, num_val=1, image_size=64, seed=0)
    config = copied_starter(tmp_path, data_root=tmp_path / "drawn", classes=("elipse",))
    done = run_tool("train.py", config, folder=tmp_path)
    assert done.returncode == 2
    assert "elipse" in done.stderr and "ellipse" in done.stderr and done.stderr.count("\n") == 1
