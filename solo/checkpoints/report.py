"""What became of every tensor of a conversion."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

MAX_NAMES_SHOWN = 8


@dataclass
class FileFacts:
    """One end of a conversion.

    Attributes:
        path: the file.
        dialect: whose names it has.
        sha256: of the whole file, "" before it is written.
    """

    path: str
    dialect: str
    sha256: str = ""


@dataclass
class ConversionReport:
    """The account of a conversion; every name of source and target is in exactly one list of its side.

    Attributes:
        mapped: (source name, target name, shape) of tensors that were taken over.
        dropped: reason by source name.
        unexplained: reason by source name.
        generated: reason by target name, for tensors that the source does not hold and that need no source.
        missing: target names that nothing fills, with their shape.
        allowed: names that `--allow-missing` let pass.
        notes: what else is worth knowing.
        source: the file that was read.
        target: the file that was written.
        config: the config of the model.
    """

    mapped: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)
    generated: dict[str, str] = field(default_factory=dict)
    missing: dict[str, tuple[int, ...]] = field(default_factory=dict)
    allowed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source: FileFacts | None = None
    target: FileFacts | None = None
    config: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is unexplained and nothing is missing but what was allowed."""
        return not {*self.unexplained, *self.missing}.difference(self.allowed)

    def problems(self) -> list[str]:
        """One line a kind of problem, names shortened."""
        unexplained = [f"{name} ({reason})" for name, reason in self.unexplained.items() if name not in self.allowed]
        missing = [f"{name} {shape}" for name, shape in self.missing.items() if name not in self.allowed]
        lines = []
        if unexplained:
            lines.append(f"{len(unexplained)} of the source unexplained: {_shortened(unexplained)}")
        if missing:
            lines.append(f"{len(missing)} of the model missing: {_shortened(missing)}")
        return lines

    def summary(self) -> str:
        """The lines that a command prints."""
        numbers = sum(prod(shape) for _, _, shape in self.mapped)
        lines = []
        if self.source:
            lines.append(f"source    {self.source.path} ({self.source.dialect}, sha256 {self.source.sha256})")
        lines += [f"config    {self.config}", f"mapped    {len(self.mapped)} tensors, {numbers:,} numbers"]
        lines += [f"dropped   {line}" for line in _grouped(self.dropped)]
        lines += [f"generated {line}" for line in _grouped(self.generated)]
        lines += [f"allowed   {name}" for name in self.allowed]
        lines += [f"note      {note}" for note in self.notes]
        if self.target:
            lines.append(f"target    {self.target.path} ({self.target.dialect}, sha256 {self.target.sha256})")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values for JSON."""
        mapped = [{"source": source, "target": target, "shape": shape} for source, target, shape in self.mapped]
        return {**asdict(self), "mapped": mapped, "complete": self.complete}

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(self.as_dict(), indent=1) + "\n")


def _grouped(reasons: dict[str, str]) -> list[str]:
    return [f"{count} ({reason})" for reason, count in Counter(reasons.values()).items()]


def _shortened(names: list[str]) -> str:
    more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f", ... ({more} more)" if more > 0 else "")
