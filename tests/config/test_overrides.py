"""Changes of a config by options of the command line."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from solo.config import load_config
from solo.config.overrides import set_epochs
from solo.errors import ConfigError
from tests.helpers.paths import ROOT


def schedule(*schedulers: dict[str, Any], **train_cfg: Any) -> Config:
    return Config(dict(train_cfg=train_cfg, param_scheduler=list(schedulers)))


def test_the_schedule_is_stretched_to_other_epochs() -> None:
    warmup = dict(type="LinearLR", by_epoch=False, begin=0, end=500)
    decay = dict(type="MultiStepLR", begin=0, end=12, milestones=[9, 11], gamma=0.1)
    config = schedule(warmup, decay, max_epochs=12)
    set_epochs(config, 24)
    assert config.train_cfg.max_epochs == 24
    assert config.param_scheduler[0] == warmup
    assert config.param_scheduler[1] == dict(decay, end=24, milestones=[18, 22])


def test_a_cosine_ends_with_the_training() -> None:
    config = load_config(str(ROOT / "configs" / "shapes" / "solov2-nano_shapes.py"))
    set_epochs(config, 2)
    assert (config.param_scheduler[1].end, config.param_scheduler[1].T_max) == (2, 2)


def test_no_milestone_becomes_epoch_0() -> None:
    config = schedule(dict(type="MultiStepLR", begin=0, end=36, milestones=[9, 33]), max_epochs=36)
    set_epochs(config, 1)
    assert config.param_scheduler[0].milestones == [1, 1]
    assert config.param_scheduler[0].begin == 0


def test_one_scheduler_or_none() -> None:
    alone = Config(dict(train_cfg=dict(max_epochs=10), param_scheduler=dict(type="StepLR", step_size=4)))
    set_epochs(alone, 5)
    assert alone.param_scheduler.step_size == 2
    none = Config(dict(train_cfg=dict(max_epochs=10)))
    set_epochs(none, 5)
    assert none.train_cfg.max_epochs == 5


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        set_epochs(schedule(max_epochs=12), 0)
    with pytest.raises(ConfigError, match="counts iterations"):
        set_epochs(schedule(max_iters=100), 3)
