"""The text of a config that inherits another one and repeats what is commonly changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.config import Config

_DATASET = ("data_root", "ann_file", "data_prefix", "classes")
# Comment -> dotted keys; those that a config lacks are left out.
_SECTIONS = {
    "The number of classes of the data.": ("model.num_classes",),
    "Images of a batch, and the data: annotations in COCO's format, with paths relative to `data_root`.": (
        "train_dataloader.batch_size",
        "train_dataloader.num_workers",
        *(f"{split}_dataloader.dataset.{key}" for split in ("train", "val", "test") for key in _DATASET),
    ),
    "The schedule. `param_scheduler`, a list, is replaced as a whole; `solo train --auto-scale-lr` fits the learning\n"
    "# rate to the batch size.": (
        "optim_wrapper.optimizer.lr",
        "train_cfg.max_epochs",
        "train_cfg.max_iters",
        "train_cfg.val_interval",
    ),
    "A checkpoint to start from.": ("load_from",),
}


def inheriting_text(config: Config, *, base: str) -> str:
    """The text of a config that inherits `base`; loaded, it equals `config`.

    Args:
        config: the loaded config, of which the repeated values are taken.
        base: name or path of the config, as `_base_` shall have it.
    """
    parts = [
        f"# What is left out here is inherited; `solo config {base}` prints it.\n_base_ = {base!r}\n".replace("'", '"')
    ]
    for comment, keys in _SECTIONS.items():
        values = _select(config, keys)
        if values:
            parts.append(f"# {comment}\n{Config(values).pretty_text}")
    return "\n".join(parts)


def _select(config: Config, keys: Iterable[str]) -> dict[str, Any]:
    """The values of dotted keys that a config has, as nested dicts."""
    selected: dict[str, Any] = {}
    for key in keys:
        node: Any = config
        *parents, last = key.split(".")
        for parent in parents:
            node = node.get(parent) if isinstance(node, (dict, Config)) else None
        if not isinstance(node, (dict, Config)) or last not in node:
            continue
        target = selected
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = node[last]
    return selected
