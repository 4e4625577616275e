"""Learning rates and decays by name: by hand on a small model, and for the recipes that need them."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from solo.engine.optimizer import LayerwiseOptimWrapperConstructor
from solo.errors import ConfigError


def model() -> nn.Module:
    parts = {
        "stem": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)),
        "stages": nn.ModuleList([nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)]),
        "frozen": nn.Linear(2, 2).requires_grad_(False),
    }
    return nn.ModuleDict(parts)


def settings(**paramwise: Any) -> dict[str, tuple[float, float]]:
    """(learning rate, decay) of each trained parameter, with 0.1 and 0.01 as base."""
    built = model()
    optimizer = dict(type="SGD", lr=0.1, weight_decay=0.01)
    constructor = LayerwiseOptimWrapperConstructor(dict(optimizer=optimizer), paramwise)
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    groups = constructor(built).optimizer.param_groups
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_rates_leave_the_decay_of_normalisations_alone() -> None:
    found = settings(norm_decay_mult=0.0, custom_keys={"stem": dict(lr_mult=0.5), "stages.0": dict(decay_mult=2.0)})
    assert found == {
        "stem.0.weight": pytest.approx((0.05, 0.01)),
        "stem.0.bias": pytest.approx((0.05, 0.01)),
        "stem.1.weight": pytest.approx((0.05, 0.0)),
        "stem.1.bias": pytest.approx((0.05, 0.0)),
        "stages.0.weight": pytest.approx((0.1, 0.02)),
        "stages.0.bias": pytest.approx((0.1, 0.02)),
        "stages.1.weight": pytest.approx((0.1, 0.0)),
        "stages.1.bias": pytest.approx((0.1, 0.0)),
    }


def test_the_longest_key_that_states_a_setting_gives_it() -> None:
    keys = {"st": dict(lr_mult=3.0, decay_mult=4.0), "stem.0": dict(lr_mult=2.0), "stem.0.bias": dict(decay_mult=0.0)}
    found = settings(custom_keys=keys)
    assert found["stem.0.weight"] == pytest.approx((0.2, 0.04))
    assert found["stem.0.bias"] == pytest.approx((0.2, 0.0))
    assert found["stages.1.weight"] == pytest.approx((0.3, 0.04))


def test_a_key_that_names_a_normalisation_sets_its_decay() -> None:
    assert settings(norm_decay_mult=0.0, custom_keys={"stem.1": dict(decay_mult=1.0)})["stem.1.bias"][1] == 0.01


def test_equal_settings_share_a_group_and_the_plain_one_comes_first() -> None:
    config = dict(
        constructor="solo.LayerwiseOptimWrapperConstructor",
        optimizer=dict(type="SGD", lr=0.1, weight_decay=0.01),
        paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"stem": dict(lr_mult=0.5)}),
    )
    groups = build_optim_wrapper(model(), config).optimizer.param_groups
    assert [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups] == [
        (0.1, 0.01, 2),
        (0.05, 0.01, 2),
        (0.05, 0.0, 2),
        (0.1, 0.0, 2),
    ]


def test_without_decay_in_the_optimizer() -> None:
    built = model()
    constructor = LayerwiseOptimWrapperConstructor(
        dict(optimizer=dict(type="SGD", lr=0.1)), dict(custom_keys={"stem": dict(lr_mult=2.0)})
    )
    assert {group["weight_decay"] for group in constructor(built).optimizer.param_groups} == {0}


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        (dict(custom_keys={"steem": dict(lr_mult=2.0)}), "no trained parameter's name has 'steem'"),
        (dict(custom_keys={"frozen": dict(lr_mult=2.0)}), "no trained parameter's name has 'frozen'"),
        (dict(custom_keys={"stem": dict(lr_mul=2.0)}), "paramwise_cfg has 'lr_mul'"),
        (dict(bias_lr_mult=2.0), "paramwise_cfg has 'bias_lr_mult'"),
    ],
)
def test_errors_name_the_cause(paramwise: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**paramwise)
