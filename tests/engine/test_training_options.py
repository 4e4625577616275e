"""Trainings of milliseconds with what people expect: early stop, trackers, balanced classes."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset

from solo.cli import main
from solo.engine import trackers
from solo.engine.hooks import DatasetEpochHook
from solo.engine.trackers import TRACKERS, TrackioVisBackend, add_tracker
from solo.engine.training import train
from solo.errors import ConfigError
from tests.helpers.coco_files import annotation, build, content
from tests.helpers.fakes import write_config

EARLY_STOP = "[dict(type='EarlyStoppingHook', monitor='coco/segm_mAP', rule='greater', min_delta=0.001, patience=2)]"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path).relative_to(tmp_path)


def test_early_stop(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AP is the same from the first epoch on: two validations later the training ends, and says so."""
    text = config.read_text() + f"custom_hooks = custom_hooks + {EARLY_STOP}\ntrain_cfg.update(max_epochs=9)\n"
    config.write_text(text)
    assert main(["train", str(config)]) == 0
    out = capsys.readouterr().out
    assert "Trained 3 of 9 epochs. Best epoch 1" in out and "did not improve" in out


def test_batch_size_reaches_the_loader(config: Path) -> None:
    assert train(str(config), batch_size=1, overrides={"train_cfg.max_epochs": 1}).train_dataloader.batch_size == 1


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_one_line(
    config: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda _: None)
    assert main(["train", str(config), "--log", name]) == 2
    error = capsys.readouterr().err
    assert error == f"error: --log {name}: the package {name} is not installed; `pip install {name}` brings it\n"


def test_trackio_gets_scalars_and_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package: the calls are those of its documented interface."""
    calls: list[tuple[str, Any]] = []
    package: Any = ModuleType("trackio")
    package.log = lambda values, step=None: calls.append(("log", (values, step)))
    package.finish = lambda: calls.append(("finish", None))
    package.init = lambda **options: calls.append(("init", options)) or "run"
    monkeypatch.setitem(sys.modules, "trackio", package)
    backend = TrackioVisBackend(project="mine")
    backend.close()
    backend.add_config(Config(dict(a=1)))
    backend.add_scalar("lr", 0.5, 3)
    backend.add_scalars(dict(loss=1, epoch=2), 4)
    backend.close()
    assert [name for name, _ in calls] == ["init", "log", "log", "log", "finish"]
    assert calls[0][1] == dict(project="mine") and "a = 1" in calls[1][1][0]["config"]
    assert calls[2][1] == ({"lr": 0.5}, 3) and calls[3][1] == ({"loss": 1.0, "epoch": 2.0}, 4)


@pytest.mark.parametrize("name", TRACKERS)
def test_installed_tracker_logs_offline(
    config: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(name)
    train(str(config), trackers=[name], overrides={"train_cfg.max_epochs": 1})
    places = {"wandb": "work_dirs/square/**/*.wandb", "mlflow": "mlruns/**/*loss*", "trackio": "trackio/*"}
    assert list(tmp_path.glob(places[name]))


def test_an_unknown_tracker() -> None:
    with pytest.raises(ConfigError, match="unknown, expected one of wandb, mlflow, trackio"):
        add_tracker(Config(dict(work_dir="x")), "tensorbored", project="mine")


def test_rare_classes_are_seen_more_often(tmp_path: Path) -> None:
    """Dogs are on a quarter of the images: sqrt(0.7 / 0.25) is 1.7, so theirs is seen twice."""
    cats = [annotation(i, image_id=i) for i in (1, 2, 3)]
    dataset = build(tmp_path, content([*cats, annotation(4, image_id=4, category_id=7)], num_images=4))
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.7)
    seen = Counter(balanced.get_data_info(index)["img_id"] for index in range(len(balanced)))
    assert seen == {1: 1, 2: 1, 3: 1, 4: 2}
    assert balanced.metainfo["classes"] == ("cat", "dog")
    DatasetEpochHook().before_train_epoch(
        SimpleNamespace(epoch=3, train_dataloader=SimpleNamespace(dataset=balanced))  # type: ignore[arg-type]
    )
    assert balanced[len(balanced) - 1]["data_samples"].img_id == 4
