"""Names and conventions of SOLO and SOLOv2 weights of one code base.

Names are converted by pairs of templates, in both directions. A template is a name with fields in braces. `{i}` is a
whole number; `{i+2}` and `{i*3+1}` are numbers computed from it, so that a pair can say `res{stage+1}` on one side and
`layer{stage}` on the other. `{rest}` is any text. Any other field is a word of the vocabulary, a table of pairs
(theirs, ours). Both templates of a rule have the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

Vocabulary: TypeAlias = Mapping[str, Mapping[str, str]]
"""Their words to ours, by the name of the field. Of several with the same meaning the first is written."""

_FIELD = re.compile(r"\{([a-z_]+)(?:\*(\d+))?(?:\+(\d+))?\}")
_REST = "rest"


class Rule(NamedTuple):
    """One pair of templates."""

    theirs: str  # template of the other dialect
    ours: str  # template of ours
    if_theirs: str = ""  # template of a name that must be among theirs for the rule to convert from theirs
    if_ours: str = ""  # template of a name that must be among ours for the rule to convert from ours


def read_rules(table: str, *, if_theirs: str = "", if_ours: str = "") -> tuple[Rule, ...]:
    """Read a table of pairs, their template and ours, between white space; the conditions hold for every pair."""
    words = table.split()
    return tuple(Rule(theirs, ours, if_theirs, if_ours) for theirs, ours in zip(words[::2], words[1::2], strict=True))


class Preprocessing(NamedTuple):
    """Normalisation of the images that weights were trained on."""

    channel_order: str  # "RGB" or "BGR"
    mean: tuple[float, ...]  # per channel in that order, in units of 0 to 255
    std: tuple[float, ...]  # per channel, in the same units


IMAGENET = Preprocessing("RGB", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
CAFFE = Preprocessing("BGR", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True, eq=False)
class Dialect:
    """Names and conventions of one code base."""

    name: str  # value of `--source`
    title: str  # name of the code base in messages
    rules: tuple[Rule, ...]  # pairs of its names and ours; the first rule that matches a name applies
    vocabulary: Vocabulary  # words that the fields of the rules stand for
    dropped: Mapping[str, str]  # reason by shell pattern of names, for what is not part of the model
    preprocessing: Preprocessing = IMAGENET  # normalisation that its models expect
    backbone_style: str = "pytorch"  # stride of a bottleneck: in its 3x3 ("pytorch") or first 1x1 ("caffe")
    counts_batches: bool = True  # whether its files record `num_batches_tracked`

    def to_ours(self, names: Collection[str]) -> dict[str, str | None]:
        """Convert their names to ours; None where no rule matches."""
        return _convert(names, self._directions[0])

    def to_theirs(self, names: Collection[str]) -> dict[str, str | None]:
        """Convert our names to theirs; None where no rule matches."""
        return _convert(names, self._directions[1])

    @cached_property
    def _directions(self) -> tuple[list[_Direction], list[_Direction]]:
        our_words = {field: {ours: ours for ours in words.values()} for field, words in self.vocabulary.items()}
        to_ours, to_theirs = [], []
        for rule in self.rules:
            theirs, ours = _Template(rule.theirs, self.vocabulary), _Template(rule.ours, our_words)
            to_ours.append((theirs, ours, _Template(rule.if_theirs, self.vocabulary)))
            to_theirs.append((ours, theirs, _Template(rule.if_ours, our_words)))
        return to_ours, to_theirs


class _Template:
    """One side of a rule, with the words of that side and ours for them."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.text = text
        self._vocabulary = vocabulary

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pattern, end = "", 0
        for match in _FIELD.finditer(self.text):
            # The longest first, so that "b12" is not read as "b1".
            words = sorted(self._vocabulary.get(match[1], ()), key=len, reverse=True)
            value = "|".join(map(re.escape, words)) or (".+" if match[1] == _REST else r"\d+")
            pattern += re.escape(self.text[end : match.start()]) + f"({value})"
            end = match.end()
        return re.compile(pattern + re.escape(self.text[end:]))

    def read(self, name: str) -> dict[str, str] | None:
        """Parse a name into its fields, with our words; None when it does not match."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        fields: dict[str, str] = {}
        for (field, factor, offset), value in zip(_FIELD.findall(self.text), match.groups(), strict=True):
            if field in self._vocabulary:
                value = self._vocabulary[field][value]
            elif field != _REST:
                whole, remainder = divmod(int(value) - int(offset or 0), int(factor or 1))
                if remainder or whole < 0:
                    return None
                value = str(whole)
            if fields.setdefault(field, value) != value:
                return None
        return fields

    def write(self, fields: Mapping[str, str]) -> str:
        """Fill the template with fields that `read` has returned."""

        def text(match: re.Match[str]) -> str:
            field, factor, offset = match.groups()
            value = fields[field]
            if field in self._vocabulary:
                return next(word for word, ours in self._vocabulary[field].items() if ours == value)
            return value if field == _REST else str(int(value) * int(factor or 1) + int(offset or 0))

        return _FIELD.sub(text, self.text)


_Direction: TypeAlias = tuple[_Template, _Template, _Template]
"""Templates of a name, of the name that it becomes, and of a name that must be there ("" for none)."""


def _convert(names: Collection[str], rules: list[_Direction]) -> dict[str, str | None]:
    known = frozenset(names)
    return {name: _apply_first(rules, name, known) for name in names}


def _apply_first(rules: list[_Direction], name: str, names: Collection[str]) -> str | None:
    for source, target, condition in rules:
        fields = source.read(name)
        if fields is not None and (not condition.text or condition.write(fields) in names):
            return target.write(fields)
    return None
