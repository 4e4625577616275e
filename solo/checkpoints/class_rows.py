"""Fine-tuning with other classes: the rows of the class predictor move with the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from solo.errors import CheckpointError

PREDICTOR = "head.category_predictor."
MAX_NAMES = 6


@dataclass(frozen=True, kw_only=True)
class ClassRows:
    """What became of the classes of a checkpoint.

    Attributes:
        kept: classes of the data that the checkpoint knows, in the order of the data's labels.
        new: classes of the data whose rows keep their random initialisation.
        dropped: classes of the checkpoint that the data has not.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        groups = ((self.kept, "kept"), (self.new, "new"), (self.dropped, "dropped"))
        return ", ".join(f"{len(names)} {kind}{_shorten(names)}" for names, kind in groups)


def move_class_rows(
    checkpoint: Mapping[str, Any], expected: Mapping[str, Tensor], classes: Sequence[str], *, source: str
) -> ClassRows | None:
    """Put the checkpoint's row of each class where the data has that class; rows of new classes stay as initialised.

    Args:
        checkpoint: result of `load_checkpoint`; the tensors of its class predictor are replaced.
        expected: state dict of the initialised model.
        classes: names of the data's classes, in the order of the labels.
        source: name of the checkpoint in error messages.

    Returns:
        What became of the classes; None where the classes are the same, or the checkpoint names none.

    Raises:
        CheckpointError: the checkpoint's class predictor has another number of rows than the checkpoint has names.
    """
    names = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes")
    weights = checkpoint["state_dict"]
    predictor = [name for name in weights if name.startswith(PREDICTOR)]
    if not names or not predictor or tuple(names) == tuple(classes):
        return None
    rows = {str(name): row for row, name in enumerate(names)}
    kept = [(label, rows[name]) for label, name in enumerate(classes) if name in rows]
    for name in predictor:
        if len(weights[name]) != len(names):
            raise CheckpointError(f"{source}: it names {len(names)} classes, but {name} has {len(weights[name])} rows")
        if name not in expected or expected[name].shape[1:] != weights[name].shape[1:]:
            continue  # of another head: all of it keeps its initialisation
        moved = expected[name].detach().cpu().clone()
        for label, row in kept:
            moved[label] = weights[name][row]
        weights[name] = moved
    return ClassRows(
        kept=tuple(classes[label] for label, _ in kept),
        new=tuple(name for name in classes if name not in rows),
        dropped=tuple(name for name in rows if name not in classes),
    )


def _shorten(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:MAX_NAMES])}{', ...' if len(names) > MAX_NAMES else ''})" if names else ""
