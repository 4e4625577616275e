"""Load a config and check it before anything is built: a misspelt key names itself, its place and the nearest name."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from solo.config.keys import RUNNER_KEYS, UNTYPED_PARTS, accepted_keys, takes_numbers_only
from solo.errors import ConfigError, missing_file_message, suggestion
from solo.registry import SCOPE

# Layers are built by functions that take further keys out; what these dicts hold is left to them.
LAYER_KEYS = {"norm_cfg", "conv_cfg", "act_cfg", "upsample_cfg", "dcn", "plugins"}


def load_config(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, apply overrides, check the result. Nothing global is set.

    Args:
        path: Config in mmengine's text style.
        overrides: Values by dotted key path, as `--cfg-options` gives them.

    Raises:
        ConfigError: The file is missing or cannot be read, or a key or a `type` is unknown.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigError(missing_file_message(path, kind="config"))
    try:
        with _without_remarks():
            config = Config.fromfile(path)
    except Exception as error:  # a config is code, which may raise anything
        raise ConfigError(f"config {_place(error, path)}: {type(error).__name__}: {error}") from error
    if overrides:
        for key_path in overrides:
            _check_override(config, key_path)
        try:
            config.merge_from_dict(dict(overrides))
        except (TypeError, KeyError, IndexError) as error:
            raise ConfigError(f"override of {', '.join(overrides)}: {error}") from error
    check_config(config)
    return config


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """mmengine remarks on standard output that it reads environment variables, in the midst of a printed config."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def class_names_of_config(config: Config) -> Sequence[str] | None:
    """Names of the classes that the data of a config states, None when its annotation file does."""
    for key in ("test_dataloader", "val_dataloader", "train_dataloader"):
        dataset = (config.get(key) or {}).get("dataset") or {}
        names = dataset.get("classes") or (dataset.get("metainfo") or {}).get("classes")
        if names:
            return names
    return None


def check_config(config: Config) -> None:
    """Check every key that has a fixed meaning: Runner's, and those of the dicts that name a class by `type`.

    Helper variables beside them stay free, and so does what cannot be looked up.

    Raises:
        ConfigError: Names the full key path, what is expected there, and the nearest name.
    """
    for key in config:
        near = [name for name in RUNNER_KEYS if _one_slip_apart(key, name)]
        if key not in RUNNER_KEYS and near:
            raise ConfigError(f"unknown key {key!r} (did you mean {near[0]!r}?)")
        if key in RUNNER_KEYS:
            _check_node(config[key], path=key, scope=config.get("default_scope") or SCOPE)


def _check_node(node: Any, *, path: str, scope: str) -> None:
    if isinstance(node, Mapping):
        expected = accepted_keys(node, path=path, scope=scope)
        for key, value in node.items():
            if expected is not None and key not in expected and key not in ("type", "_scope_"):
                raise ConfigError(_unknown_key(f"{path}.{key}", expected, owner=node.get("type")))
            if isinstance(value, str) and takes_numbers_only(node, key, path=path, scope=scope):
                raise ConfigError(f"config key '{path}.{key}': {node['type']} expects a number, came {value!r}")
            if key not in LAYER_KEYS:
                _check_node(value, path=f"{path}.{key}", scope=scope)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            _check_node(value, path=f"{path}.{index}", scope=scope)


def _check_override(config: Config, key_path: str) -> None:
    """Raise unless the key path reaches something. New keys beside a `type` are left to `check_config`."""
    node: Any = config
    parent = ""
    if key_path.partition(".")[0] in set(config) - RUNNER_KEYS:
        raise ConfigError(
            f"override {key_path}: {key_path.partition('.')[0]!r} is a helper variable, whose value has been used when "
            "the file was read; override the key that holds it, or change the file"
        )
    for key in key_path.split("."):
        if isinstance(node, (list, tuple)):
            if not key.isdecimal() or int(key) >= len(node):
                raise ConfigError(
                    f"override {key_path}: {parent} has {len(node)} entries, counted from 0; came {key!r}"
                )
            node = node[int(key)]
        elif not isinstance(node, (Mapping, Config)):
            raise ConfigError(f"override {key_path}: {parent} is {node!r}, which has no keys")
        elif key in node:
            node = node[key]
        elif "type" in node:
            return
        else:
            expected = {*node, *(UNTYPED_PARTS.get(parent) or ())}
            if key not in expected:
                raise ConfigError("override: " + _unknown_key(f"{parent}.{key}".lstrip("."), expected))
            return
        parent = f"{parent}.{key}".lstrip(".")


def _unknown_key(path: str, expected: set[str], owner: Any = None) -> str:
    key = path.rpartition(".")[2]
    where = f"{owner} accepts" if owner else "expected one of"
    return f"unknown key {path!r}{suggestion(key, expected)}; {where}: {', '.join(sorted(expected))}"


# --------------------------------------------------------------------------------------------------------- where, near
def _one_slip_apart(one: str, other: str) -> bool:
    """Whether one letter is missing, added, wrong or swapped. Helper variables are further off."""
    longest = max(len(one), len(other))
    return difflib.SequenceMatcher(None, one, other).ratio() >= 1 - 1 / longest


def _place(error: BaseException, path: Path) -> str:
    """`FILE, line N` of an error in a config or one of its bases, as far as the traceback tells."""
    file, line = str(path), getattr(error, "lineno", None)
    traceback = error.__traceback__
    while traceback is not None:
        code, variables = traceback.tb_frame.f_code, traceback.tb_frame.f_locals
        if code.co_name in ("_file2dict", "_is_lazy_import"):
            file = str(variables.get("filename", file))
        elif os.path.abspath(file) == code.co_filename:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f"{file}, line {line}" if line else file
