"""Constructor errors become ConfigErrors; other errors pass."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.registry import Registry

from solo.compat import build_errors
from solo.engine.runner import SOLORunner
from solo.errors import ConfigError, DataError

PARTS = Registry("part")


@PARTS.register_module()
class Choosy:
    def __init__(self, *, size: Any, inner: Any = None, error: type[Exception] = ValueError) -> None:
        if inner is not None:
            PARTS.build(inner)
        if size != 1:
            raise error("size must be 1")


def test_section_values_reason_and_origin_are_named() -> None:
    with (
        pytest.raises(
            ConfigError, match=r"^config section Choosy\(size=2\) cannot be built: ValueError: size must be 1 "
        ),
        build_errors(),
    ):
        PARTS.build(dict(type="Choosy", size=2))


def test_the_innermost_section_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Choosy\(size='x'\).*test_build_errors"), build_errors():
        PARTS.build(dict(type="Choosy", size=1, inner=dict(type="Choosy", size="x", error=AssertionError)))


def test_a_loader_is_a_section() -> None:
    loader = dict(
        batch_size=1,
        num_workers=-1,
        dataset=[0, 1],
        sampler=dict(type="DefaultSampler", shuffle=False),
        pin_memory=False,
    )
    with pytest.raises(ConfigError, match=r"dataloader\(.*num_workers=-1"), build_errors():
        SOLORunner.build_dataloader(loader)


@pytest.mark.parametrize("error", [DataError, RuntimeError, KeyboardInterrupt])
def test_other_errors_pass(error: type[BaseException]) -> None:
    with pytest.raises(error), build_errors():
        PARTS.build(dict(type="Choosy", size=2, error=error))


def test_errors_outside_of_a_constructor_pass() -> None:
    with pytest.raises(ValueError, match="not while building"), build_errors():
        PARTS.build(dict(type="Choosy", size=1))
        raise ValueError("not while building")
