"""Templates translate names both ways."""

from __future__ import annotations

import pytest

from solo.checkpoints.dialects.dialect import Dialect, Rule, read_rules

PARAMETER = {"parameter": {"weight": "weight", "bias": "bias"}}


def dialect(*rules: Rule, **vocabulary: dict[str, str]) -> Dialect:
    return Dialect("test", "Test", rules, {**PARAMETER, **vocabulary}, dropped={})


@pytest.mark.parametrize(
    ("theirs", "ours", "name", "translated"),
    [
        ("a.{parameter}", "b.{parameter}", "a.bias", "b.bias"),
        ("res{stage+1}.{i}", "layer{stage}.{i}", "res5.12", "layer4.12"),
        ("tower.{i*3}.w", "tower.{i}.conv", "tower.9.w", "tower.3.conv"),
        ("tower.{i*3+1}.w", "tower.{i}.norm", "tower.10.w", "tower.3.norm"),
        ("x{level}.y{level}", "z{level}", "x2.y2", "z2"),
        ("old.{rest}", "new.{rest}", "old.a.b.1", "new.a.b.1"),
    ],
)
def test_fields(theirs: str, ours: str, name: str, translated: str) -> None:
    names = dialect(Rule(theirs, ours))
    assert names.to_ours([name]) == {name: translated}
    assert names.to_theirs([translated]) == {translated: name}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("a.{parameter}", "a.running_mean"),
        ("a.{parameter}", "b.a.weight"),
        ("a.{parameter}", "a.weight.x"),
        ("a.b", "axb"),  # a point is a point
        ("res{stage+1}", "res0"),
        ("tower.{i*3}", "tower.4"),
        ("x{level}.y{level}", "x1.y2"),
        ("old.{rest}", "old."),
    ],
)
def test_names_of_another_form_have_no_translation(template: str, name: str) -> None:
    assert dialect(Rule(template, template)).to_ours([name]) == {name: None}


def test_words_are_read_all_and_written_with_the_first() -> None:
    names = dialect(Rule("c.{part}", "d.{part}"), part={"gn.w": "norm", "bn.w": "norm"})
    assert names.to_ours(["c.gn.w", "c.bn.w"]) == {"c.gn.w": "d.norm", "c.bn.w": "d.norm"}
    assert names.to_theirs(["d.norm"]) == {"d.norm": "c.gn.w"}


def test_the_longest_word_is_read() -> None:
    names = dialect(Rule("res{block}.w", "layer.{block}.w"), block={"b1": "1", "b12": "12"})
    assert names.to_ours(["resb12.w"]) == {"resb12.w": "layer.12.w"}


def test_the_first_fitting_rule_applies() -> None:
    names = dialect(Rule("a.new", "x.new"), Rule("a.old", "x.new"), Rule("a.{rest}", "y.{rest}"))
    assert names.to_ours(["a.old", "a.new", "a.other"]) == {"a.old": "x.new", "a.new": "x.new", "a.other": "y.other"}
    assert names.to_theirs(["x.new"]) == {"x.new": "a.new"}


def test_a_table_has_pairs_of_templates() -> None:
    table = """
        a.{i}   b.{i}
        a.long.{i}
            b.long.{i}
    """
    expected = (Rule("a.{i}", "b.{i}", if_ours="c"), Rule("a.long.{i}", "b.long.{i}", if_ours="c"))
    assert read_rules(table, if_ours="c") == expected


def test_conditions_look_at_the_other_names() -> None:
    names = dialect(
        Rule("short.{i}", "down.{i+1}", if_theirs="deep.{i}", if_ours="stem.{i}"), Rule("short.{i}", "down.{i}")
    )
    assert names.to_ours(["short.0"]) == {"short.0": "down.0"}
    assert names.to_ours(["short.0", "deep.0"])["short.0"] == "down.1"
    assert names.to_ours(["short.0", "deep.1"])["short.0"] == "down.0"
    assert names.to_theirs(["down.1"]) == {"down.1": "short.1"}
    assert names.to_theirs(["down.1", "stem.0"])["down.1"] == "short.0"
