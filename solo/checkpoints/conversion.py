"""Weights of one dialect under the names of another; every tensor is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS, Dialect
from solo.checkpoints.report import ConversionReport
from solo.errors import CheckpointError

OURS = "solo"
OUR_MARK = "head.category_predictor.weight"
COUNTER = ".num_batches_tracked"
NOT_KNOWN = "no name of this dialect"
NOT_IN_MODEL = "the model of the config has no {target}"
COUNTER_REASON = "counts batches of a normalisation that does not use the count"
GENERATED_REASON = "0, a count that the source does not record"
TWICE_REASON = "in the file a second time, with equal values"


def find_dialect(names: Sequence[str]) -> Dialect:
    """The dialect that explains most of the names.

    Args:
        names: names of tensors.

    Raises:
        CheckpointError: the names are ours already, or no dialect explains half of them.
    """
    if OUR_MARK in names:
        raise CheckpointError("its names are those of solo already: there is nothing to convert")
    explained = {
        name: sum(found is not None for found in dialect.key_map.to_ours(names).values())
        for name, dialect in DIALECTS.items()
    }
    best = max(explained, key=lambda name: explained[name])
    if 2 * explained[best] < len(names):
        raise CheckpointError(
            f"its names are of no known dialect ({', '.join(DIALECTS)}): {', '.join(sorted(names)[:5])}, ..."
        )
    return DIALECTS[best]


def convert_to_ours(
    weights: Mapping[str, Tensor],
    model: Mapping[str, Tensor],
    *,
    dialect: Dialect,
    allow_missing: Sequence[str] = (),
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Translate the weights of a dialect for one of our models.

    Args:
        weights: tensors by their names in the dialect.
        model: state dict of the model to fill; shapes and types are read, so it may be on the meta device.
        dialect: whose names they are.
        allow_missing: shell patterns of names (of the source or of the model) that may stay unexplained or missing.

    Returns:
        The weights under our names in the types of the model, in its order, and the account. Without `allow_missing`
        they fill the whole model exactly if the account is complete.
    """
    report = ConversionReport()
    taken: dict[str, tuple[str, Tensor]] = {}
    translated = dialect.key_map.to_ours(list(weights))
    for name, target in translated.items():
        _take(report, taken, name, target, weights[name], model, dialect)
    for target, expected in model.items():
        if target in taken:
            report.mapped.append((taken[target][0], target, tuple(expected.shape)))
        elif target.endswith(COUNTER):
            report.generated[target] = GENERATED_REASON
        else:
            report.missing[target] = tuple(expected.shape)
    _allow(report, allow_missing, translated)
    _note_types(report, taken, model)
    filled = {
        target: taken[target][1].to(expected.dtype) if target in taken else torch.zeros((), dtype=expected.dtype)
        for target, expected in model.items()
        if target in taken or target in report.generated
    }
    return filled, report


def convert_from_ours(weights: Mapping[str, Tensor], *, dialect: Dialect) -> tuple[dict[str, Tensor], ConversionReport]:
    """Translate our weights into the names of a dialect.

    Args:
        weights: tensors by our names.
        dialect: whose names to give.

    Returns:
        The same tensors under its names, and the account: what it has no name for is unexplained.
    """
    report = ConversionReport()
    converted: dict[str, Tensor] = {}
    for name, target in dialect.key_map.to_theirs(list(weights)).items():
        if name.endswith(COUNTER) and (target is None or not dialect.counts_batches):
            report.dropped[name] = f"{dialect.title} does not record it"
        elif target is None:
            report.unexplained[name] = f"{dialect.title} has no name for it"
        else:
            converted[target] = weights[name]
            report.mapped.append((name, target, tuple(weights[name].shape)))
    return converted, report


def _take(
    report: ConversionReport,
    taken: dict[str, tuple[str, Tensor]],
    name: str,
    target: str | None,
    tensor: Tensor,
    model: Mapping[str, Tensor],
    dialect: Dialect,
) -> None:
    """Decide about one tensor of the source."""
    known = next((entry.reason for entry in dialect.dropped if fnmatchcase(name, entry.pattern)), None)
    if known and target not in model:
        report.dropped[name] = known
    elif target is None:
        report.unexplained[name] = NOT_KNOWN
    elif target not in model and target.endswith(COUNTER):
        report.dropped[name] = COUNTER_REASON
    elif target not in model:
        report.unexplained[name] = NOT_IN_MODEL.format(target=target)
    elif tensor.shape != model[target].shape or tensor.is_floating_point() != model[target].is_floating_point():
        report.unexplained[name] = f"{_form(tensor)}, but {target} is {_form(model[target])}"
    elif target not in taken:
        taken[target] = (name, tensor)
    elif torch.equal(tensor, taken[target][1]):
        report.dropped[name] = TWICE_REASON
    else:
        report.unexplained[name] = f"its values differ from those of {taken[target][0]}, which is {target} too"


def _allow(report: ConversionReport, patterns: Sequence[str], translated: Mapping[str, str | None]) -> None:
    """Let names pass: those of the model, those of the source, and those of the source that mean such of the model."""
    for pattern in patterns:
        matched = [
            name
            for name in [*report.unexplained, *report.missing]
            if fnmatchcase(name, pattern) or fnmatchcase(translated.get(name) or "", pattern)
        ]
        if not matched:
            report.notes.append(f"--allow-missing {pattern!r} matches nothing that is unexplained or missing")
        report.allowed += [name for name in matched if name not in report.allowed]


def _note_types(report: ConversionReport, taken: Mapping[str, tuple[str, Tensor]], model: Mapping[str, Tensor]) -> None:
    changed = Counter(
        f"{str(tensor.dtype).removeprefix('torch.')} to {str(model[target].dtype).removeprefix('torch.')}"
        for target, (_, tensor) in taken.items()
        if tensor.dtype != model[target].dtype
    )
    report.notes += [f"{count} tensors changed from {types}" for types, count in changed.items()]


def _form(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else " of integers"
    return f"{tuple(tensor.shape)}{kind}"
