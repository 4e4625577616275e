"""What the checks of a data set report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from solo.datasets.insight.tables import format_table
from solo.errors import printable

Severity = Literal["ok", "warning", "failure"]
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check of one file.

    Attributes:
        check: What was checked.
        file: The annotation file; empty for a check across all files.
        severity: "failure" where training or its validation would fail.
        count: How many images, annotations or classes are concerned.
        text: What is wrong; empty if nothing is.
        examples: File names, ids or names of some that are concerned.
        seconds: Time that the check took; 0 for one that shares the time of the check before it.
    """

    check: str
    file: str
    severity: Severity
    count: int = 0
    text: str = ""
    examples: Sequence[Any] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {
            "check": self.check,
            "file": self.file,
            "severity": self.severity,
            "count": self.count,
            "text": self.text,
            "examples": list(self.examples),
            "seconds": round(self.seconds, 3),
        }


def judge(
    check: str,
    file: str,
    found: Sequence[Any],
    *,
    text: str,
    severity: Severity = "warning",
    seconds: float = 0.0,
) -> Finding:
    """A finding about everything in `found`, which is its examples; "ok" if nothing is in it."""
    if not found:
        return Finding(check=check, file=file, severity="ok", seconds=seconds)
    return Finding(
        check=check,
        file=file,
        severity=severity,
        count=len(found),
        text=text,
        examples=found[:_EXAMPLES],
        seconds=seconds,
    )


def findings_table(findings: Sequence[Finding]) -> str:
    """A table of the checks, a column for each file, and below it a line for everything that is not in order."""
    files = list(dict.fromkeys(found.file for found in findings if found.file))
    cells = {(found.check, found.file): found for found in findings}
    rows = []
    for check in dict.fromkeys(found.check for found in findings):
        of_check = [cells.get((check, file)) for file in ["", *files]]
        seconds = sum(found.seconds for found in of_check if found)
        shown = [_result(found) for found in of_check[1:]] if of_check[0] is None else [_result(of_check[0])]
        rows.append([check, *shown, *[""] * (len(files) - len(shown)), f"{seconds:.2f}"])
    numbers = [f"file {number}" for number in range(1, len(files) + 1)]
    lines = [f"{name}: {file}" for name, file in zip(numbers, files, strict=True)]
    lines += ["", format_table(["check", *numbers, "seconds"], rows), ""]
    odd = [found for found in findings if found.severity != "ok"]
    lines += [_describe(found) for found in sorted(odd, key=lambda found: found.severity)]
    return "\n".join(printable(line) for line in "\n".join(lines).split("\n")).rstrip()


def _result(found: Finding | None) -> str:
    if found is None:
        return "-"
    return found.severity if found.severity == "ok" else f"{found.count} {found.severity}"


def _describe(found: Finding) -> str:
    more = ", ..." if found.count > len(found.examples) else ""
    place = f"{found.file}: " if found.file else ""
    return f"{found.severity}: {place}{found.check}: {found.text}: {', '.join(map(str, found.examples))}{more}"
