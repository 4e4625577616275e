from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mmengine.runner import Runner

from solo.checkpoints import load_checkpoint
from solo.engine.hooks import PeakMemoryHook
from solo.engine.hooks.runtime_info import peak_memory_mb
from solo.engine.runner import SOLORunner
from solo.engine.training import train
from tests.helpers.counters import OperationCounter
from tests.helpers.fakes import write_config

DEFERRED = "\ndefault_hooks.update(runtime_info=dict(type='DeferredRuntimeInfoHook'))\n"
# Four steps an epoch, a line at the third and at the end.
EVERY_THIRD = {
    "train_dataloader.batch_size": 1,
    "train_dataloader.dataset.folder": None,
    "default_hooks.logger.interval": 3,
    "log_processor.window_size": 3,
    "optim_wrapper.clip_grad": dict(max_norm=0.3),
}


def run(folder: Path, *, config_lines: str = "", **overrides: Any) -> SOLORunner:
    config = write_config(folder)
    config.write_text(config.read_text() + config_lines)
    overrides = {**EVERY_THIRD, **overrides, "train_dataloader.dataset.folder": str(folder / "data")}
    return train(str(config), work_dir=str(folder / "work"), overrides=overrides)


def logged(folder: Path) -> list[dict[str, float]]:
    lines = next((folder / "work").glob("*/vis_data/scalars.json")).read_text().splitlines()
    times = ("time", "data_time", "memory", "memory_mb")
    return [{key: value for key, value in json.loads(line).items() if key not in times} for line in lines]


def test_the_log_is_the_same(tmp_path: Path) -> None:
    run(tmp_path / "plain")
    run(tmp_path / "deferred", config_lines=DEFERRED)
    plain, deferred = logged(tmp_path / "plain"), logged(tmp_path / "deferred")
    assert any("grad_norm" in line for line in plain)
    assert deferred == plain


def test_checkpoints_hold_the_whole_history(tmp_path: Path) -> None:
    by_iteration = {"default_hooks.checkpoint": dict(type="CheckpointHook", interval=2, by_epoch=False)}
    for name, lines in (("plain", ""), ("deferred", DEFERRED)):
        run(tmp_path / name, config_lines=lines, **by_iteration)
    histories = [
        load_checkpoint(tmp_path / name / "work" / "iter_2.pth")["message_hub"]["log_scalars"]
        for name in ("plain", "deferred")
    ]
    for name in ("train/loss", "train/grad_norm"):
        assert list(histories[0][name].data[0]) == list(histories[1][name].data[0])
        assert len(histories[1][name].data[0]) == 2


@pytest.mark.parametrize("deferred", [True, False])
def test_values_are_read_only_when_a_line_is_logged(
    tmp_path: Path, deferred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    call_hook = Runner.call_hook

    def counted(runner: Runner, name: str, **arguments: Any) -> None:
        if name != "after_train_iter":
            return call_hook(runner, name, **arguments)
        with OperationCounter() as counter:
            call_hook(runner, name, **arguments)
        reads.append(len(counter.host_syncs))
        return None

    monkeypatch.setattr(Runner, "call_hook", counted)
    run(tmp_path, config_lines=DEFERRED if deferred else "", **{"train_cfg.max_epochs": 1})
    assert len(reads) == 4
    quiet = [reads[0], reads[1]]
    assert (sum(quiet) == 0) == deferred


def test_peak_memory_grows_with_use() -> None:
    before = peak_memory_mb()
    block = np.ones(2**26, dtype=np.uint8) * np.uint8(3)
    assert 10 < before <= peak_memory_mb() < 2**20
    assert block[-1] == 3


def test_memory_is_recorded_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: dict[str, float] = {}
    runner: Any = SimpleNamespace(message_hub=SimpleNamespace(update_scalar=recorded.__setitem__))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    PeakMemoryHook().after_train_iter(runner, 0)
    assert recorded["train/memory_mb"] > 10
    recorded.clear()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    PeakMemoryHook().after_train_iter(runner, 0)
    assert recorded == {}
