"""Check a config before anything is built: each key is looked up in the signature of the class that receives it."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry, root
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.utils import set_random_seed
from torch.utils.data import DataLoader

from solo.errors import ConfigError, suggestion
from solo.registry import SCOPE


@dataclass(frozen=True)
class AcceptedKeys:
    """Keys that a dict of a config may hold."""

    names: frozenset[str] = frozenset()  # the known keys
    others: bool = False  # whether unknown keys are accepted too, unless they look like a misspelt name
    numbers: frozenset[str] = frozenset()  # those of the names whose values must be numbers, truth values or None

    def accepts(self, key: str) -> bool:
        """Whether a key is known, or unknown and accepted."""
        return key in self.names or (self.others and not any(_one_slip_apart(key, name) for name in self.names))


def _parameters(*functions: Callable[..., Any]) -> set[str]:
    return {name for function in functions for name in inspect.signature(function).parameters} - {"self"}


RUNNER_KEYS = _parameters(Runner.__init__) - {"cfg"} | {"custom_imports"}
_LOADER_KEYS = _parameters(DataLoader.__init__) | {"num_batch_per_epoch"}
_LOOP_KEYS = _parameters(EpochBasedTrainLoop.__init__, IterBasedTrainLoop.__init__) - {"runner", "dataloader"}
# Dicts of a config that have no `type`: the keys of each, by its path.
_UNTYPED_PARTS = {
    "": RUNNER_KEYS,
    "train_dataloader": _LOADER_KEYS,
    "val_dataloader": _LOADER_KEYS,
    "test_dataloader": _LOADER_KEYS,
    "train_cfg": _LOOP_KEYS | {"by_epoch"},
    "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
    "randomness": _parameters(set_random_seed),
    "auto_scale_lr": {"base_batch_size", "enable"},
    "default_hooks": {"runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"},
    "optim_wrapper.paramwise_cfg": {"custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult"},
}
# Those that may hold other keys too: variables beside the Runner's keys, more hooks, options of other constructors.
_OPEN_PARTS = {"", "default_hooks", "optim_wrapper.paramwise_cfg"}
# Keys that the builder of a registry takes out of a dict, beside what the object's class accepts.
BUILDER_KEYS = {
    "hook": {"priority"},
    "optim_wrapper": {"constructor", "paramwise_cfg"},
    "parameter scheduler": {"convert_to_iter_based"},
    "weight initializer": {"override", "name"},
}
# Classes that pass `**kwargs` on to another object, although their base classes have parameters of their own.
_OPEN_CLASSES = {"ZeroRedundancyOptimizer"}
# Layers are built by functions that take further keys out of these dicts; their contents are not checked.
LAYER_KEYS = {"norm_cfg", "conv_cfg", "act_cfg", "upsample_cfg", "dcn", "plugins"}


def check_config(config: Config) -> None:
    """Check the Runner's keys, and the keys of every dict below them that names a class by `type`.

    Other top-level names are variables of the config and accepted, unless they look like a misspelt key of the Runner.

    Raises:
        ConfigError: A key or a type is unknown, or a value is no number where one is expected. The message has the key
            path, what is expected there, and the nearest name.
    """
    scope = config.get("default_scope") or SCOPE
    accepted = _untyped_keys("")
    for key in config:
        if not accepted.accepts(key):
            raise ConfigError(_unknown_key(key, accepted))
        if key in RUNNER_KEYS:
            _check_node(config[key], path=key, scope=scope)


def _check_node(node: Any, *, path: str, scope: str) -> None:
    if isinstance(node, Mapping):
        accepted = _accepted_keys(node, path=path, scope=scope)
        for key, value in node.items():
            if not accepted.accepts(key):
                raise ConfigError(_unknown_key(f"{path}.{key}", accepted, owner=node.get("type")))
            if isinstance(value, str) and key in accepted.numbers:
                raise ConfigError(f"config key '{path}.{key}': {node['type']} expects a number, got {value!r}")
            if key not in LAYER_KEYS:
                _check_node(value, path=f"{path}.{key}", scope=scope)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            _check_node(value, path=f"{path}.{index}", scope=scope)


def check_override(config: Config, key_path: str) -> None:
    """Check that the path of an override exists; new keys beside a `type` are left to `check_config`.

    Raises:
        ConfigError: The path does not exist, or is a variable of the config, which would have no effect.
    """
    keys = key_path.split(".")
    if keys[0] in set(config) - RUNNER_KEYS:
        raise ConfigError(
            f"override {key_path}: {keys[0]!r} is a variable of the config, and its value was used when the file was "
            "read; override the key that holds it, or edit the file"
        )
    node: Any = config
    for depth, key in enumerate(keys):
        parent = ".".join(keys[:depth])
        if isinstance(node, (list, tuple)):
            if not key.isdecimal() or int(key) >= len(node):
                raise ConfigError(f"override {key_path}: {parent} has {len(node)} entries, got index {key!r}")
            node = node[int(key)]
        elif not isinstance(node, (Mapping, Config)):
            raise ConfigError(f"override {key_path}: {parent} is {node!r}, which has no keys")
        elif key in node:
            node = node[key]
        else:
            known = AcceptedKeys(_untyped_keys(parent).names | set(node))
            if "type" not in node and key not in known.names:
                raise ConfigError("override: " + _unknown_key(".".join(keys[: depth + 1]), known))
            return


def _unknown_key(path: str, accepted: AcceptedKeys, owner: Any = None) -> str:
    key, names = path.rpartition(".")[2], sorted(accepted.names)
    near = [name for name in names if _one_slip_apart(key, name)]
    message = f"unknown key {path!r}" + (f" (did you mean {near[0]!r}?)" if near else suggestion(key, names))
    if accepted.others:
        return message
    return f"{message}; {f'{owner} accepts' if owner else 'expected one of'}: {', '.join(names)}"


def _one_slip_apart(key: str, name: str) -> bool:
    """Whether one letter is missing, added, wrong or swapped; False for words too short to tell."""
    longest = max(len(key), len(name))
    if key == name or longest < 3 or abs(len(key) - len(name)) > 1:
        return False
    blocks = difflib.SequenceMatcher(None, key, name).get_matching_blocks()
    return sum(block.size for block in blocks) >= longest - 1


# --------------------------------------------------------------------------------------- from a type to its parameters
def _untyped_keys(path: str) -> AcceptedKeys:
    return AcceptedKeys(frozenset(_UNTYPED_PARTS.get(path, ())), path in _OPEN_PARTS or path not in _UNTYPED_PARTS)


def _accepted_keys(node: Mapping[str, Any], *, path: str, scope: str) -> AcceptedKeys:
    """Keys of a dict: those of every class that its `type` may name, or those of an untyped part."""
    if "type" not in node:
        return _untyped_keys(path)
    found = _find_classes(node["type"], path=f"{path}.type", scope=node.get("_scope_") or scope)
    if not found:
        return AcceptedKeys(others=True)
    signatures = [_inspect(target) for _, target in found]
    builder_keys = [BUILDER_KEYS.get(registry_name, set()) for registry_name, _ in found]
    return AcceptedKeys(
        names=frozenset({"type", "_scope_"}.union(*builder_keys, *(keys.names for keys in signatures))),
        others=any(keys.others for keys in signatures),
        numbers=frozenset.intersection(*(keys.numbers for keys in signatures)),
    )


@functools.cache
def _inspect(target: Callable[..., Any]) -> AcceptedKeys:
    """Parameters of a function or class. `**kwargs` are taken for parameters of the base classes, if these have any."""
    functions = [target]
    if inspect.isclass(target):
        functions = [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls)]
    known: dict[str, inspect.Parameter] = {}
    others = True
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # some classes written in C have no signature
            break
        named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "self"}
        last = not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        others = not last or (function is not functions[0] and named.keys() <= known.keys())
        known = {**named, **known}
        if last:
            break
    others |= getattr(target, "__name__", "") in _OPEN_CLASSES
    numbers = frozenset(name for name, parameter in known.items() if _is_number(parameter.annotation))
    return AcceptedKeys(frozenset(known), others, numbers)


def _is_number(annotation: Any) -> bool:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.fullmatch(r"(int|float|bool)( \| (int|float|bool|None))*", text) is not None


def _find_classes(type_name: Any, *, path: str, scope: str) -> list[tuple[str, Callable[..., Any]]]:
    """Every class that a `type` may name, with its registry's name: the key does not tell which registry builds it."""
    if not isinstance(type_name, str):
        return [("", type_name)] if callable(type_name) else []
    prefix, _, name = type_name.rpartition(".")
    scopes = (prefix,) if prefix else (scope, root.MODELS.scope)
    is_complete = _import_registered(scopes)
    registries = _registries(scopes)
    found = [(registry.name, registry.module_dict[name]) for registry in registries if name in registry.module_dict]
    if is_complete and not found:
        known = [other for registry in registries for other in registry.module_dict]
        raise ConfigError(f"{path}: unknown type {type_name!r}{suggestion(name, known)}")
    return found


def _registries(scopes: Sequence[str]) -> list[Registry]:
    roots = [registry for registry in vars(root).values() if isinstance(registry, Registry)]
    families = [{registry.scope: registry, **registry.children} for registry in roots]
    return [family[scope] for family in families for scope in scopes if scope in family]


@functools.cache
def _import_registered(scopes: tuple[str, ...]) -> bool:
    """Import the modules that register the classes of these scopes; False when one cannot be imported."""
    try:
        for scope in scopes:
            importlib.import_module(f"{scope}.registry")
        for registry in _registries(scopes):
            registry.import_from_location()
    except ImportError:
        return False
    return True
