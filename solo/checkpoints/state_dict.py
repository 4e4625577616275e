"""Convert state dicts between the names of two code bases, with a report on every tensor."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS, Dialect
from solo.checkpoints.loading import describe_tensor, shorten
from solo.errors import CheckpointError
from solo.output_files import write_output

OURS = "solo"
OUR_PREDICTOR = "head.category_predictor.weight"
BATCH_COUNTER = ".num_batches_tracked"


@dataclass
class FileFacts:
    """Source or target of a conversion: its path, the naming scheme of its tensors, and the sha256 of its bytes."""

    path: str
    dialect: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.path} ({self.dialect}, sha256 {self.sha256})"


@dataclass
class ConversionReport:
    """What became of every tensor; each name of source and target is in exactly one collection of its side."""

    mapped: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)  # (source name, target name, shape)
    dropped: dict[str, str] = field(default_factory=dict)  # reason by source name
    unexplained: dict[str, str] = field(default_factory=dict)  # reason by source name
    generated: dict[str, str] = field(default_factory=dict)  # reason by target name; they need no source
    missing: dict[str, tuple[int, ...]] = field(default_factory=dict)  # shape by target name
    allowed: list[str] = field(default_factory=list)  # names that `--allow-missing` accepts
    notes: list[str] = field(default_factory=list)  # further remarks, such as changed dtypes
    source: FileFacts | None = None  # the file that was read
    target: FileFacts | None = None  # the file that was written
    config: str = ""  # the config of the model

    @property
    def complete(self) -> bool:
        """Whether every unexplained or missing tensor is allowed."""
        return not {*self.unexplained, *self.missing}.difference(self.allowed)

    def problems(self) -> list[str]:
        """One line for each kind of problem, names shortened."""
        unexplained = [f"{name} ({reason})" for name, reason in self.unexplained.items() if name not in self.allowed]
        missing = [f"{name} {shape}" for name, shape in self.missing.items() if name not in self.allowed]
        lines = {"of the source unexplained": unexplained, "of the model missing": missing}
        return [f"{len(names)} {kind}: {shorten(names)}" for kind, names in lines.items() if names]

    def summary(self) -> str:
        """The lines that the command prints."""
        numbers = sum(prod(shape) for _, _, shape in self.mapped)
        lines = [
            f"source    {self.source}",
            f"config    {self.config}",
            f"mapped    {len(self.mapped)} tensors, {numbers:,} numbers",
            *(f"dropped   {count} ({reason})" for reason, count in Counter(self.dropped.values()).items()),
            *(f"generated {count} ({reason})" for reason, count in Counter(self.generated.values()).items()),
            *(f"allowed   {name}" for name in self.allowed),
            *(f"note      {note}" for note in self.notes),
            f"target    {self.target}",
        ]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the whole report as JSON."""
        mapped = [{"source": source, "target": target, "shape": shape} for source, target, shape in self.mapped]
        content: dict[str, Any] = {**asdict(self), "mapped": mapped, "complete": self.complete}
        write_output(path, json.dumps(content, indent=1).encode() + b"\n")


def find_dialect(names: Sequence[str], *, source: str = "checkpoint") -> Dialect:
    """Find the dialect that explains most of the names of tensors.

    Raises:
        CheckpointError: the names are those of `solo` already, or no dialect explains half of them.
    """
    if OUR_PREDICTOR in names:
        raise CheckpointError(f"{source}: its names are those of solo already: there is nothing to convert")
    explained = {name: sum(map(bool, d.to_ours(names).values())) for name, d in DIALECTS.items()}
    best = max(explained, key=lambda name: explained[name])
    if 2 * explained[best] < len(names):
        known = ", ".join(DIALECTS)
        raise CheckpointError(f"{source}: its names are of no known dialect ({known}): {shorten(sorted(names))}")
    return DIALECTS[best]


def convert_to_ours(
    weights: Mapping[str, Tensor],
    model: Mapping[str, Tensor],
    *,
    dialect: Dialect,
    allow_missing: Sequence[str] = (),
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Convert the weights of a dialect for a model of `solo`.

    Args:
        weights: tensors by their names in the dialect.
        model: state dict of the model to fill; only shapes and dtypes are read, so it may be on the meta device.
        dialect: the naming scheme of `weights`.
        allow_missing: shell patterns of names (of the source or of the model) that may be unexplained or missing.

    Returns:
        The weights under our names in the dtypes and order of the model, and the report. Without `allow_missing`
        they fill the whole model exactly if the report is complete.
    """
    report = ConversionReport()
    taken: dict[str, tuple[str, Tensor]] = {}
    translated = dialect.to_ours(list(weights))
    for name, target in translated.items():
        _assign(report, taken, name, target, weights[name], model, dialect)
    filled: dict[str, Tensor] = {}
    for target, expected in model.items():
        if target in taken:
            report.mapped.append((taken[target][0], target, tuple(expected.shape)))
            filled[target] = taken[target][1].to(expected.dtype)
        elif target.endswith(BATCH_COUNTER):
            report.generated[target] = "0, a count that the source does not record"
            filled[target] = torch.zeros((), dtype=expected.dtype)
        else:
            report.missing[target] = tuple(expected.shape)
    _allow(report, allow_missing, translated)
    dtypes = Counter((old.dtype, filled[target].dtype) for target, (_, old) in taken.items())
    report.notes += [f"{n} tensors changed from {old} to {new}" for (old, new), n in dtypes.items() if old != new]
    return filled, report


def convert_from_ours(weights: Mapping[str, Tensor], *, dialect: Dialect) -> tuple[dict[str, Tensor], ConversionReport]:
    """Convert weights of `solo` to the names of a dialect.

    Returns:
        The same tensors under the names of the dialect, and the report; tensors without such a name are unexplained.
    """
    report = ConversionReport()
    converted: dict[str, Tensor] = {}
    for name, target in dialect.to_theirs(list(weights)).items():
        if name.endswith(BATCH_COUNTER) and (target is None or not dialect.counts_batches):
            report.dropped[name] = f"{dialect.title} does not record it"
        elif target is None:
            report.unexplained[name] = f"{dialect.title} has no name for it"
        else:
            converted[target] = weights[name]
            report.mapped.append((name, target, tuple(weights[name].shape)))
    return converted, report


def _assign(
    report: ConversionReport,
    taken: dict[str, tuple[str, Tensor]],
    name: str,
    target: str | None,
    tensor: Tensor,
    model: Mapping[str, Tensor],
    dialect: Dialect,
) -> None:
    """Take one tensor of the source for its target, drop it, or report it as unexplained."""
    reason = next((reason for pattern, reason in dialect.dropped.items() if fnmatchcase(name, pattern)), None)
    if reason and target not in model:
        report.dropped[name] = reason
    elif target is None:
        report.unexplained[name] = "no name of this dialect"
    elif target not in model and target.endswith(BATCH_COUNTER):
        report.dropped[name] = "counts batches of a normalisation that does not use the count"
    elif target not in model:
        report.unexplained[name] = f"the model of the config has no {target}"
    elif describe_tensor(tensor) != describe_tensor(model[target]):
        report.unexplained[name] = f"{describe_tensor(tensor)}, but {target} is {describe_tensor(model[target])}"
    elif target not in taken:
        taken[target] = (name, tensor)
    elif torch.equal(tensor, taken[target][1]):
        report.dropped[name] = "in the file a second time, with equal values"
    else:
        report.unexplained[name] = f"its values differ from those of {taken[target][0]}, which is {target} too"


def _allow(report: ConversionReport, patterns: Sequence[str], translated: Mapping[str, str | None]) -> None:
    """Allow names of the model, names of the source, and names of the source whose target matches a pattern."""
    for pattern in patterns:
        matched = [
            name
            for name in [*report.unexplained, *report.missing]
            if fnmatchcase(name, pattern) or fnmatchcase(translated.get(name) or "", pattern)
        ]
        if not matched:
            report.notes.append(f"--allow-missing {pattern!r} matches nothing that is unexplained or missing")
        report.allowed += [name for name in matched if name not in report.allowed]
