"""Parsing of `--deploy` and `--cfg-options`."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from solo.cli.options import add_config_options, parse_deployment, parse_runtime_options
from solo.cli.result_options import score
from solo.deployment import DeploymentOptions
from solo.errors import ConfigError
from solo.runtime import RuntimeOptions


def test_words_of_deploy() -> None:
    assert parse_deployment(["auto"]) is None
    assert parse_deployment(["none"]) == DeploymentOptions()
    words = ["fold_norms=True", "channels_last=backbone", "dtype=bfloat16", "threads=4", "compile={'dynamic': True}"]
    assert parse_deployment(words) == DeploymentOptions(
        fold_norms=True, channels_last="backbone", dtype="bfloat16", threads=4, compile=dict(dynamic=True)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["auto", "dtype=bfloat16"], "--deploy auto: expected KEY=VALUE pairs, or 'auto' or 'none' alone"),
        (["fast"], "--deploy fast"),
        (["dtypes=float16"], r"'dtypes' is unknown \(did you mean 'dtype'\?\)"),
        (["threads=many"], "threads must be an integer"),
    ],
)
def test_errors_name_the_cause(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_deployment(words)


def config_options(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    options: dict[str, Any] = parser.parse_args(["--cfg-options", *words]).cfg_options
    return options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("1e-3", 1e-3),
        ("None", None),
        ("true", True),
        ("a,b", ["a", "b"]),
        ("8,11", [8, 11]),
        ("[8,11]", [8, 11]),
        ("[(1,56),(28,112)]", [(1, 56), (28, 112)]),
        ("[cat,dog]", ["cat", "dog"]),
        ("my data/train", "my data/train"),
        ("['first class','second class']", ["first class", "second class"]),
        ("{'a':1}", {"a": 1}),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_values_of_config_options(text: str, value: Any) -> None:
    assert config_options(f"key={text}", "other=1") == dict(key=value, other=1)


@pytest.mark.parametrize("word", ["novalue", "=3", "grids=[40,36", "hooks=[dict(a=1,b=2)]", "hook=dict(a=1,b=2)"])
def test_invalid_config_options(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config_options(word)
    assert f"--cfg-options {word}: " in capsys.readouterr().err


def test_scores() -> None:
    assert [score(text) for text in ("0", "0.3", "1")] == [0.0, 0.3, 1.0]
    for text in ("30", "-0.1", "nan", "high"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"from 0 to 1, got {text}"):
            score(text)


def test_options_of_exported_files() -> None:
    assert parse_runtime_options(["auto"]) is parse_runtime_options(["none"]) is None
    assert parse_runtime_options(["threads=2", "precision=bfloat16"]) == RuntimeOptions(threads=2, precision="bfloat16")
    with pytest.raises(ConfigError, match="option of exported files 'fold_norms' is unknown; there are threads, prec"):
        parse_runtime_options(["fold_norms=True"])
