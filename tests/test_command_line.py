"""What `--deploy` says."""

from __future__ import annotations

import pytest

from solo.command_line import chosen_deployment
from solo.deployment import DeploymentOptions
from solo.errors import ConfigError


def test_words_of_deploy() -> None:
    assert chosen_deployment(["auto"]) is None
    assert chosen_deployment(["none"]) == DeploymentOptions()
    words = ["fold_norms=True", "channels_last=backbone", "dtype=bfloat16", "threads=4", "compile={'dynamic': True}"]
    assert chosen_deployment(words) == DeploymentOptions(
        fold_norms=True, channels_last="backbone", dtype="bfloat16", threads=4, compile=dict(dynamic=True)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["auto", "dtype=bfloat16"], "--deploy auto: expected KEY=VALUE pairs, or 'auto' or 'none' alone"),
        (["fast"], "--deploy fast"),
        (["dtypes=float16"], r"'dtypes' is unknown \(did you mean 'dtype'\?\)"),
        (["threads=many"], "threads must be a number"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen_deployment(words)
