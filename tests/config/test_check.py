"""check_config: every misspelt key is found with the nearest name, and nothing that builders accept is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mmengine.config import Config

from solo.config.check import RUNNER_KEYS, check_config
from solo.config.load import load_config
from solo.errors import ConfigError
from solo.registry import TRANSFORMS
from tests.helpers.config_snapshots import SHIPPED
from tests.helpers.paths import CONFIGS

# Configs that differ in their backbones, data sets, hooks, schedules and loops.
VARIED = (
    "solov2_paddle/solov2_r50-enhance_fpn_512-ms-3x_coco.py",
    "solov2/solov2_r50_fpn_8xb8-lsj-copypaste-200e_coco.py",
    "solov2_adelaidet/solov2_r50_fpn_ms-3x_coco.py",
    "shapes/solov2-nano_shapes.py",
)
# Dicts whose keys are not checked: names of parameters, options of layers, and parts whose class checks them itself.
FREE = {"custom_keys", "norm_cfg", "dcn", "grid", "drop_block", "clip_grad", "filter_cfg", "data_prefix"}
FREE |= {"mp_cfg", "dist_cfg"}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_is_valid(name: str) -> None:
    assert load_config(CONFIGS / name).model.type


def dicts(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every dict of a config whose keys are checked, with its path."""
    if isinstance(node, dict):
        yield path, node
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in entries:
        if key not in FREE:
            yield from dicts(value, (*path, key))


def misspell(word: str) -> str:
    """The word with two letters in its middle swapped, or one left out where they are the same."""
    if len(word) < 3:
        return word + word[-1]
    middle = (len(word) - 1) // 2
    pair = word[middle : middle + 2]
    return word[:middle] + (pair[::-1] if pair[0] != pair[1] else pair[0]) + word[middle + 2 :]


def with_misspelt_key(config: dict[str, Any], path: tuple[Any, ...], key: str) -> Config:
    """A copy of a config with one key misspelt."""
    copy = Config(config)
    node = copy._cfg_dict
    for entry in path:
        node = node[entry]
    node[misspell(key)] = node.pop(key)
    return copy


@pytest.mark.parametrize("name", VARIED)
def test_every_misspelt_key_is_found_with_the_nearest_name(name: str) -> None:
    plain = load_config(CONFIGS / name).to_dict()
    # RandomResize and RandomChoiceResize pass this key on to a resize that is built when images are loaded.
    passed_on = {"RandomResize": {"keep_ratio"}, "RandomChoiceResize": {"keep_ratio"}}
    places = [
        (path, key)
        for path, node in dicts(plain)
        if path and path[0] in RUNNER_KEYS
        for key in node
        if key != "type" and key not in passed_on.get(node.get("type"), ())
    ]
    assert len(places) > 100
    for path, key in places:
        with pytest.raises(ConfigError, match=f"did you mean {key!r}"):
            check_config(with_misspelt_key(plain, path, key))


def test_misspelt_key_of_our_own_head_is_found_deep_in_the_model() -> None:
    head = {"type": "SOLOv2Head", "num_classes": 3, "feat_chanels": 8}
    with pytest.raises(ConfigError, match=r"'model\.head\.feat_chanels' \(did you mean 'feat_channels'\?\)"):
        check_config(Config({"model": {"head": head}}))


@pytest.mark.parametrize(
    "part",
    [
        {"base_learning_rate": 0.1, "my_model": 3, "train_dataset": {"type": "not checked"}},
        {"model": {"anything": {"goes": 1}}},
        {"model": {"type": "mmdet.ResNet", "depth": 50, "dcn": {"type": "DCNv2", "fallback_on_stride": False}}},
        {"model": {"type": "mmdet.FPN", "upsample_cfg": {"mode": "nearest"}, "in_channels": [1]}},
        {"model": {"init_cfg": {"type": "Normal", "std": 0.1, "layer": "Conv2d", "override": {"name": "a"}}}},
        {"optim_wrapper": {"type": "AmpOptimWrapper", "loss_scale": "dynamic", "paramwise_cfg": {"custom_keys": {}}}},
        {"train_dataloader": {"prefetch_factor": 2, "collate_fn": {"type": "pseudo_collate"}}},
        {"train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 5}},
    ],
)
def test_what_builders_accept_is_no_error(part: dict[str, Any]) -> None:
    check_config(Config(part))


class TakesAnything:
    def __init__(self, size: int, **options: Any) -> None: ...


class PassesOn(TakesAnything):
    def __init__(self, **kwargs: Any) -> None: ...


class Limited:
    def __init__(self, width: int) -> None: ...


class PassesOnToLimited(Limited):
    def __init__(self, height: int, **kwargs: Any) -> None: ...


class KeepsForItself(Limited):
    def __init__(self, width: int, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("target", "key", "error"),
    [
        (TakesAnything, "colour", None),
        (TakesAnything, "sise", "did you mean 'size'"),
        (PassesOn, "colour", None),
        (PassesOn, "sise", "did you mean 'size'"),
        (PassesOnToLimited, "width", None),
        (PassesOnToLimited, "colour", "accepts: _scope_, height, type, width"),
        (KeepsForItself, "colour", None),
        (KeepsForItself, "widht", "did you mean 'width'"),
    ],
)
def test_keys_that_pass_through_kwargs(target: type, key: str, error: str | None) -> None:
    TRANSFORMS.register_module(name="Probe", module=target, force=True)
    try:
        config = Config({"model": {"step": {"type": "Probe", key: 1}}})
        if error is None:
            check_config(config)
        else:
            with pytest.raises(ConfigError, match=error):
                check_config(config)
    finally:
        TRANSFORMS.module_dict.pop("Probe")
