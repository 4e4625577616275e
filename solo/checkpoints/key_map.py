"""Pairs of name templates that convert names of tensors between two dialects in both directions.

A template is a name with fields in braces. `{i}` is a whole number; `{i+2}` and `{i*3+1}` are numbers computed from it,
so that a pair can say `res{stage+1}` on one side and `layer{stage}` on the other. `{rest}` is any text. Any
other field is a word of the vocabulary, a table of pairs (theirs, ours). Both templates of a rule have the same
fields.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple, TypeAlias

Words: TypeAlias = dict[str, str]
"""A vocabulary: their word to ours. Of several with the same meaning the first is written."""

Vocabulary: TypeAlias = Mapping[str, Words]
"""Vocabularies by the name of the field."""

_FIELD = re.compile(r"\{(?P<name>[a-z_]+)(?:\*(?P<factor>\d+))?(?:\+(?P<offset>\d+))?\}")
_REST = "rest"


class Rule(NamedTuple):
    """One pair of templates.

    Attributes:
        theirs: template of the other dialect.
        ours: template of ours.
        if_theirs: template of a name that must be among theirs for the rule to convert from theirs.
        if_ours: template of a name that must be among ours for the rule to convert from ours.
        read_only: an old or second name of theirs, which is never written.
    """

    theirs: str
    ours: str
    if_theirs: str | None = None
    if_ours: str | None = None
    read_only: bool = False


class Template:
    """One side of a rule.

    Args:
        text: the template.
        words: the words of this side and what they stand for, by field.
    """

    def __init__(self, text: str, words: Mapping[str, Mapping[str, str]]) -> None:
        self._text = text
        self._words = words
        self._fields = [
            (match["name"], int(match["factor"] or 1), int(match["offset"] or 0)) for match in _FIELD.finditer(text)
        ]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pattern, end = "", 0
        for match in _FIELD.finditer(self._text):
            pattern += re.escape(self._text[end : match.start()]) + f"({self._alternatives(match['name'])})"
            end = match.end()
        return re.compile(pattern + re.escape(self._text[end:]))

    def _alternatives(self, name: str) -> str:
        if name == _REST:
            return ".+"
        # The longest first, so that "b12" is not read as "b1".
        return "|".join(map(re.escape, sorted(self._words.get(name, ()), key=len, reverse=True))) or r"\d+"

    def read(self, name: str) -> dict[str, str] | None:
        """Parse a name into its fields, with unconverted words; None when it does not match."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        fields: dict[str, str] = {}
        for (field, factor, offset), text in zip(self._fields, match.groups(), strict=True):
            value = text
            if field != _REST and field not in self._words:
                whole, remainder = divmod(int(text) - offset, factor)
                if remainder or whole < 0:
                    return None
                value = str(whole)
            if fields.setdefault(field, value) != value:
                return None
        return fields

    def write(self, fields: Mapping[str, str]) -> str:
        """Fill the template with fields; words are those of this side."""

        def text(match: re.Match[str]) -> str:
            value = fields[match["name"]]
            if match["name"] == _REST or match["name"] in self._words:
                return value
            return str(int(value) * int(match["factor"] or 1) + int(match["offset"] or 0))

        return _FIELD.sub(text, self._text)


class KeyMap:
    """Rules with their vocabulary; the first rule that matches a name applies.

    Args:
        rules: pairs of templates.
        vocabulary: words that fields may stand for.
    """

    def __init__(self, rules: Iterable[Rule], vocabulary: Vocabulary) -> None:
        theirs = vocabulary
        ours = {field: {mine: word for word, mine in reversed(words.items())} for field, words in vocabulary.items()}
        rules = tuple(rules)
        self._reading = [
            _Direction(rule.theirs, rule.ours, rule.if_theirs, words=theirs, written=ours) for rule in rules
        ]
        self._writing = [
            _Direction(rule.ours, rule.theirs, rule.if_ours, words=ours, written=theirs)
            for rule in rules
            if not rule.read_only
        ]

    def to_ours(self, names: Collection[str]) -> dict[str, str | None]:
        """Convert their names to ours; None where no rule matches."""
        return _translate(names, self._reading)

    def to_theirs(self, names: Collection[str]) -> dict[str, str | None]:
        """Convert our names to theirs; None where no rule matches."""
        return _translate(names, self._writing)


class _Direction:
    """A rule in one direction."""

    def __init__(
        self, source: str, target: str, condition: str | None, *, words: Vocabulary, written: Vocabulary
    ) -> None:
        self._source = Template(source, words)
        self._target = Template(target, written)
        self._condition = Template(condition, words) if condition else None
        self._words = words

    def apply(self, name: str, names: frozenset[str]) -> str | None:
        fields = self._source.read(name)
        if fields is None or (self._condition and self._condition.write(fields) not in names):
            return None
        return self._target.write(
            {field: self._words[field][value] if field in self._words else value for field, value in fields.items()}
        )


def _translate(names: Collection[str], directions: list[_Direction]) -> dict[str, str | None]:
    known = frozenset(names)
    translated = ((name, (direction.apply(name, known) for direction in directions)) for name in names)
    return {name: next((found for found in results if found is not None), None) for name, results in translated}
