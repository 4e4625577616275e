"""What a part of a config may hold: its `type` is looked up in the registries, and the class's signature is read."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.registry import Registry, root
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.utils import set_random_seed
from torch.utils.data import DataLoader

from solo.errors import ConfigError, suggestion

# Keys that whoever builds an object takes out of its dict, beside what the object's class accepts.
BUILDER_KEYS = {
    "hook": {"priority"},
    "optim_wrapper": {"constructor", "paramwise_cfg"},
    "parameter scheduler": {"convert_to_iter_based"},
    "weight initializer": {"override", "name"},
}
RUNNER_KEYS = {*inspect.signature(Runner.__init__).parameters, "custom_imports"} - {"self", "cfg"}
LOADER_KEYS = {*inspect.signature(DataLoader.__init__).parameters, "num_batch_per_epoch"} - {"self"}
LOOP_KEYS = {
    "by_epoch",
    *inspect.signature(EpochBasedTrainLoop.__init__).parameters,
    *inspect.signature(IterBasedTrainLoop.__init__).parameters,
} - {"self", "runner", "dataloader"}
# Parts of a config that carry no `type`, and what the Runner accepts in them.
UNTYPED_PARTS = {
    "": RUNNER_KEYS,
    "train_dataloader": LOADER_KEYS,
    "val_dataloader": LOADER_KEYS,
    "test_dataloader": LOADER_KEYS,
    "train_cfg": LOOP_KEYS,
    "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
    "randomness": set(inspect.signature(set_random_seed).parameters),
    "auto_scale_lr": {"base_batch_size", "enable"},
}


def accepted_keys(node: Mapping[str, Any], *, path: str, scope: str) -> set[str] | None:
    """The keys that a dict may hold beside `type`; None when anything goes or nothing is known."""
    if "type" not in node:
        return UNTYPED_PARTS.get(path)
    found = list(_candidates(node["type"], path=f"{path}.type", scope=node.get("_scope_") or scope))
    accepted: set[str] = set()
    for registry_name, target in found:
        parameters = _parameters(target)
        if parameters is None:
            return None
        accepted |= parameters | BUILDER_KEYS.get(registry_name, set())
    return accepted if found else None


def takes_numbers_only(node: Mapping[str, Any], key: str, *, path: str, scope: str) -> bool:
    """Whether every class that a dict may name says that its parameter `key` is a number, a truth value or None."""
    if "type" not in node:
        return False
    found = list(_candidates(node["type"], path=f"{path}.type", scope=node.get("_scope_") or scope))
    annotations = [_annotation(target, key) for _, target in found]
    return bool(annotations) and all(_NUMBER.fullmatch(annotation) for annotation in annotations)


# ------------------------------------------------------------------------------------------------- from type to class
def _candidates(type_name: Any, *, path: str, scope: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Everything that a `type` may stand for, with its registry's name: which registry is asked is not known here."""
    if not isinstance(type_name, str):
        yield from [("", type_name)] if callable(type_name) else []
        return
    prefix, _, name = type_name.rpartition(".")
    scopes = [prefix] if prefix else [scope, root.MODELS.scope]
    found = list(_registered(name, scopes))
    if not found and _import_registered(scopes):
        found = list(_registered(name, scopes))
        if not found:
            known = [other for registry in _registries(scopes) for other in registry.module_dict]
            raise ConfigError(f"{path}: unknown type {type_name!r}{suggestion(name, known)}")
    yield from found


def _registries(scopes: Sequence[str]) -> Iterator[Registry]:
    for registry in vars(root).values():
        if isinstance(registry, Registry):
            family = {registry.scope: registry, **registry.children}
            yield from (family[scope] for scope in scopes if scope in family)


def _registered(name: str, scopes: Sequence[str]) -> Iterator[tuple[str, Callable[..., Any]]]:
    for registry in _registries(scopes):
        if name in registry.module_dict:
            yield registry.name, registry.module_dict[name]


def _import_registered(scopes: Sequence[str]) -> bool:
    """Import the modules whose classes the registries of these scopes list; False when one cannot be imported."""
    try:
        for scope in scopes:
            importlib.import_module(f"{scope}.registry")
        for registry in _registries(scopes):
            registry.import_from_location()
    except ImportError:
        return False
    return True


# --------------------------------------------------------------------------------------------- from class to its keys
def _parameters(target: Callable[..., Any]) -> set[str] | None:
    """Names that a call accepts, through `**kwargs` handed on to base classes; None when any name is accepted."""
    functions = (
        [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls)]
        if (inspect.isclass(target))
        else [target]
    )
    names: set[str] = set()
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {parameter.name for parameter in parameters if parameter.kind not in _VARIADIC}
        rest = next(
            (parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD), None
        )
        if rest is None:
            return names - {"self"}
        if not _only_hands_on(function, rest):
            return None
    return None


_NUMBER = re.compile(r"(int|float|bool)( \| (int|float|bool|None))*")


def _annotation(target: Callable[..., Any], key: str) -> str:
    """The annotation of a parameter as it is written; nothing when there is none."""
    functions = (
        [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls)]
        if (inspect.isclass(target))
        else [target]
    )
    for function in functions:
        annotation = getattr(function, "__annotations__", {}).get(key)
        if annotation is not None:
            return annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return ""


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _only_hands_on(function: Callable[..., Any], rest: str) -> bool:
    """Whether the one use of `**rest` is the call of a base's `__init__`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = sum(isinstance(node, ast.Name) and node.id == rest for node in ast.walk(tree))
    handed_on = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__"
        for keyword in node.keywords
        if keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == rest
    ]
    return uses == 1 and len(handed_on) == 1
