"""No config says again what its bases say: whoever reads a file sees what is its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config, ConfigDict

from tests.helpers.config_snapshots import CONFIGS

FILES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py"))
BASES = "_base_"


def bases_and_own_values(path: Path) -> tuple[ConfigDict, dict[str, Any], ast.Module]:
    """What the bases of a config come to, what its own lines assign, and those lines."""
    module = ast.parse(path.read_text())
    named = [line.value for line in module.body if is_assignment(line) and line.targets[0].id == BASES]
    names = ast.literal_eval(named[0]) if named else []
    base = ConfigDict()
    for name in [names] if isinstance(names, str) else names:
        base.update(Config.fromfile(path.parent / name)._cfg_dict)
    module.body = [line for line in module.body if not (is_assignment(line) and line.targets[0].id == BASES)]
    own: dict[str, Any] = {BASES: base}
    exec(compile(module, str(path), "exec"), own)
    return base, {key: value for key, value in own.items() if key != BASES and not key.startswith("__")}, module


def is_assignment(line: ast.stmt) -> bool:
    return isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)


def said_again(own: Any, base: Any, path: str = "") -> Iterator[str]:
    """Paths of the values that would be the same without them."""
    if isinstance(own, Mapping) and isinstance(base, Mapping) and not own.get("_delete_"):
        for key in own.keys() & base.keys():
            yield from said_again(own[key], base[key], f"{path}.{key}".lstrip("."))
    elif own == base:
        yield path


def entries_said_again(module: ast.Module, own: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[str]:
    """Entries written out in a list although the list of the base has them: those are taken from `_base_`."""
    for line in filter(is_assignment, module.body):
        name = line.targets[0].id  # type: ignore[attr-defined]
        if isinstance(line.value, ast.List) and name in base:  # type: ignore[attr-defined]
            literal = [entry for entry in line.value.elts if isinstance(entry, ast.Call) and not entry.args]  # type: ignore[attr-defined]
            for text in map(ast.unparse, literal):
                if eval(text, dict(own)) in base[name]:
                    yield f"{name}: {text}"


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_said_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_ROOT", raising=False)
    base, own, module = bases_and_own_values(CONFIGS / name)
    assert [*said_again(own, base), *entries_said_again(module, own, base)] == []


def test_what_is_found(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(
        "model = dict(type='A', head=dict(convs=4, width=8))\nsteps = [dict(type='Load'), dict(type='Pack')]\n"
    )
    child = tmp_path / "child.py"
    child.write_text(
        "_base_ = 'base.py'\n"
        "model = dict(type='B', head=dict(convs=4, width=9))\n"
        "steps = [dict(type='Load'), dict(type='Flip'), _base_.steps[1]]\n"
    )
    base, own, module = bases_and_own_values(child)
    assert list(said_again(own, base)) == ["model.head.convs"]
    assert list(entries_said_again(module, own, base)) == ["steps: dict(type='Load')"]
    child.write_text("_base_ = ['base.py']\nmodel = dict(head=dict(_delete_=True, convs=4))\n")
    base, own, module = bases_and_own_values(child)
    assert [*said_again(own, base), *entries_said_again(module, own, base)] == []
