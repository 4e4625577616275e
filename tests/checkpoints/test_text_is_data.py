"""No text in a checkpoint is compiled or imported, whichever way mmengine and solo load the file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner.checkpoint import load_checkpoint as load_by_mmengine

from solo import SOLOPredictor
from solo.checkpoints import load_checkpoint
from solo.checkpoints.source import read_source
from solo.config import load_config
from solo.engine.testing import test as run_test
from solo.engine.training import train
from solo.errors import UserError
from tests.helpers.fakes import OneSquareModel, write_config

MARKER = "hostile_text"
# mmengine reads a config with imports by another function than one without.
TEXTS = [
    pytest.param("{trace}", id="statement"),
    pytest.param("from os import path\n{trace}", id="import", marks=pytest.mark.long),
    pytest.param("_base_ = [{trace}]", id="base", marks=pytest.mark.long),
]
_watched: list[list[str]] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in ("compile", "import") and MARKER in str(arguments[0]):
        _watched[-1].append(f"{event}: {arguments[0]!s:.200}")


sys.addaudithook(_record)  # it stays for the process, and looks at nothing outside of `watched`


@contextmanager
def watched() -> Iterator[list[str]]:
    """The texts with the marker that Python compiles or imports, by whatever function."""
    _watched.append([])
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config, and a checkpoint of its first epoch."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder)
    train(str(config), work_dir=str(folder / "work"), overrides={"train_cfg.max_epochs": 1})
    return config, folder / "work" / "epoch_1.pth"


@pytest.fixture(params=TEXTS)
def hostile(request: pytest.FixtureRequest, trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """The checkpoint with the text in every place that holds a text."""
    text = request.param.format(trace=f"open({str(tmp_path / MARKER)!r}, 'w')")
    checkpoint = torch.load(trained[1], weights_only=True)
    for values in (checkpoint["meta"], checkpoint["message_hub"]["runtime_info"]):
        texts = {key for key, value in values.items() if isinstance(value, str)}
        values |= dict.fromkeys(texts | {"cfg", "config", "hook_msgs", "test_dataloader"}, text)
    checkpoint["meta"]["dataset_meta"]["classes"] = (text, "bright")
    checkpoint["state_dict"][text] = torch.ones(1)
    checkpoint["type"] = checkpoint["_base_"] = text
    path = tmp_path / "work" / "epoch_1.pth"
    path.parent.mkdir()
    torch.save(checkpoint, path)
    return path


def resume(config: Path, path: Path) -> None:
    _drop_surplus_weights(path)
    train(str(config), work_dir=str(path.parent / "new"), resume=str(path), overrides={"train_cfg.max_epochs": 2})


def resume_latest(config: Path, path: Path) -> None:
    _drop_surplus_weights(path)
    (path.parent / "last_checkpoint").write_text(f"open({str(path.parent.parent / MARKER)!r}, 'w')")
    train(str(config), work_dir=str(path.parent), resume="auto", overrides={"train_cfg.max_epochs": 2})


def initialize(config: Path, path: Path) -> None:
    options = {"train_cfg.max_epochs": 1, "load_from": str(path)}
    train(str(config), work_dir=str(path.parent / "new"), overrides=options)


def evaluate(config: Path, path: Path) -> None:
    _drop_surplus_weights(path)
    run_test(str(config), str(path), work_dir=str(path.parent / "new"))


def predict(config: Path, path: Path) -> None:
    _drop_surplus_weights(path)
    SOLOPredictor(str(config), str(path), device="cpu")(str(config.parent / "data" / "0.png"))


def resume_by_mmengine(config: Path, path: Path) -> None:
    """Its own Runner, which looks for `meta.config`."""
    loaded = Config.fromfile(config, use_environment_variables=False)
    loaded.work_dir, loaded.load_from, loaded.resume = str(path.parent / "new"), str(path), True
    loaded.train_cfg.max_epochs, loaded.experiment_name = 2, path.parent.parent.name
    _drop_surplus_weights(path)
    Runner.from_cfg(loaded).train()


def initialize_a_part(config: Path, path: Path) -> None:
    BaseModule(init_cfg=dict(type="Pretrained", checkpoint=str(path))).init_weights()


def initialize_a_backbone(config: Path, path: Path) -> None:
    BaseModule(init_cfg=dict(type="Pretrained", checkpoint=f"imagenet://{path}")).init_weights()


def infer_by_mmengine(config: Path, path: Path) -> None:
    inferencer: Any = BaseInferencer
    inferencer._load_weights_to_model(inferencer, OneSquareModel(num_classes=2), load_checkpoint(path), Config({}))


def take_for_a_config(config: Path, path: Path) -> None:
    load_config(path)


def take_for_a_config_by_mmengine(config: Path, path: Path) -> None:
    Config.fromfile(path)


def read(config: Path, path: Path) -> None:
    load_checkpoint(path)
    read_source(path)
    CheckpointLoader.load_checkpoint(str(path))
    load_by_mmengine(OneSquareModel(num_classes=2), str(path))


LOADERS: dict[Callable[[Path, Path], Any], type[Exception] | None] = {
    resume: None,
    resume_latest: None,
    initialize: None,
    evaluate: None,
    predict: None,
    resume_by_mmengine: None,
    initialize_a_part: None,
    initialize_a_backbone: None,
    infer_by_mmengine: None,
    take_for_a_config: UserError,
    take_for_a_config_by_mmengine: OSError,
    read: None,
}


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.filterwarnings("ignore")
def test_text_is_data(trained: tuple[Path, Path], hostile: Path, load: Callable[[Path, Path], Any]) -> None:
    expected = LOADERS[load]
    with watched() as compiled:
        if expected is None:
            load(trained[0], hostile)
        else:
            with pytest.raises(expected):
                load(trained[0], hostile)
    assert compiled == []
    assert not list(hostile.parents[1].rglob(MARKER))


def test_what_is_watched_is_seen(tmp_path: Path) -> None:
    """mmengine's function for configs in texts, which nothing calls with the text of a file."""
    text = f"open({str(tmp_path / MARKER)!r}, 'w')"
    with watched() as compiled:
        Config.fromstring(text, ".py")
    assert compiled and (tmp_path / MARKER).exists()


def _drop_surplus_weights(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"] = {"weight": checkpoint["state_dict"]["weight"], "ballast": torch.zeros(0)}
    torch.save(checkpoint, path)
