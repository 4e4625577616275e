"""The public names; whoever adds one adds it here too."""

from __future__ import annotations

import pytest

import solo
import solo.checkpoints

PUBLIC = ["Instances", "SOLOPredictor", "__version__", "draw_instances", "load_config"]


def test_names_are_pinned() -> None:
    assert solo.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(solo))
    assert solo.checkpoints.__all__ == ["load_checkpoint", "load_weights"]


@pytest.mark.parametrize("name", PUBLIC)
def test_name_is_there_and_documented(name: str) -> None:
    value = getattr(solo, name)
    assert isinstance(value, str) or value.__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'solo' has no attribute 'SOLOPredictorr'"):
        solo.SOLOPredictorr  # noqa: B018
