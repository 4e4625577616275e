"""Weights of a step with a non-finite loss reach no checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from solo.engine.hooks import NonFiniteLossHook
from solo.engine.training import train
from solo.errors import ConfigError, DataError
from tests.helpers.fakes import write_config


def train_with(tmp_path: Path, *bad_images: int, **options: Any) -> Any:
    hook = dict(type="NonFiniteLossHook", **options)
    overrides = {"custom_hooks": [dict(type="ClassNamesHook"), hook], "model.bad_images": bad_images}
    return train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), overrides=overrides)


@pytest.mark.parametrize("interval", [1, 50])
def test_stop_names_images_and_losses_and_leaves_good_checkpoints(tmp_path: Path, interval: int) -> None:
    with pytest.raises(DataError, match=r"not finite at iteration \d .*loss_cls nan.*data/2\.png"):
        train_with(tmp_path, 2, interval=interval)
    assert not list((tmp_path / "work").glob("epoch_*.pth"))


def test_skip_trains_on_the_other_batches_and_counts(tmp_path: Path) -> None:
    runner = train_with(tmp_path, 2, action="skip")
    weight = runner.model.weight
    assert weight.isfinite().all()
    assert weight[1] > weight[0]
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, NonFiniteLossHook))
    assert hook.skipped == 3  # once an epoch
    log = next((tmp_path / "work").rglob("*.log")).read_text()
    assert "3 steps were skipped so far" in log
    assert torch.load(tmp_path / "work" / "epoch_3.pth", weights_only=True)["state_dict"]["weight"].isfinite().all()


def test_skip_fails_after_too_many_skipped_steps_in_a_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not finite at iteration 3"):
        train_with(tmp_path, 0, 1, 2, 3, action="skip", max_skipped=2)


def test_finite_losses_pass(tmp_path: Path) -> None:
    train_with(tmp_path, interval=1)
    assert (tmp_path / "work" / "epoch_3.pth").is_file()


def test_unknown_action() -> None:
    with pytest.raises(ConfigError, match="must be 'stop' or 'skip', not 'warn'"):
        NonFiniteLossHook(action="warn")  # type: ignore[arg-type]
