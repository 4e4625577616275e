"""Frozen settings of each shipped config, so that a change of a base cannot change a recipe unnoticed.

`python -m tests.helpers.config_snapshots` renews `tests/snapshots/`; review the difference before committing it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from solo.config import load_config
from tests.helpers.paths import CONFIGS, ROOT

SNAPSHOTS = ROOT / "tests" / "snapshots"
SHIPPED = sorted(
    str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py") if "_base_" not in path.relative_to(CONFIGS).parts
)
# The parts that make a recipe; logging and the number of workers do not.
PARTS = (
    "model",
    "train_dataloader",
    "test_dataloader",
    "test_evaluator",
    "train_cfg",
    "param_scheduler",
    "optim_wrapper",
    "auto_scale_lr",
    "custom_hooks",
)
# Their model can be built where timm is installed.
NEED_TIMM = {"solov2_rt/solov2-rt_hgnetv2-b1_fpn_640-6x_coco.py"}
LEFT_OUT = (".num_workers", ".persistent_workers", ".pin_memory")


def skip_without_backbone(name: str) -> None:
    """Skip a test that builds the model of a config, which `name` names, if its backbone's package is missing."""
    if name in NEED_TIMM:
        pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)


def snapshot_path(name: str) -> Path:
    """The snapshot of a config; `name` is its path below `configs/`."""
    return SNAPSHOTS / Path(name).with_suffix(".json")


def settings(name: str) -> dict[str, Any]:
    """Every setting of a config by its dotted key; a list of plain values is one setting."""
    config = load_config(CONFIGS / name).to_dict()
    found = {key: value for part in PARTS for key, value in _flatten(part, config.get(part))}
    return {key: value for key, value in found.items() if not key.endswith(LEFT_OUT)}


def _flatten(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name in sorted(value):
            yield from _flatten(f"{key}.{name}", value[name])
    elif isinstance(value, Sequence) and any(isinstance(entry, Mapping) for entry in value):
        for index, entry in enumerate(value):
            yield from _flatten(f"{key}.{index}", entry)
    else:
        yield key, json.loads(json.dumps(value))


def text(name: str) -> str:
    """The text of a snapshot: one setting a line."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in settings(name).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    os.environ.pop("DATA_ROOT", None)
    for old in SNAPSHOTS.rglob("*.json"):
        old.unlink()
    for name in SHIPPED:
        snapshot_path(name).parent.mkdir(parents=True, exist_ok=True)
        snapshot_path(name).write_text(text(name))
    print(f"{len(SHIPPED)} snapshots below {SNAPSHOTS}")


if __name__ == "__main__":
    main()
