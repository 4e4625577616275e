from __future__ import annotations

import gc

import pytest

from solo.garbage_collection import paused_garbage_collection


@pytest.mark.parametrize("was_enabled", [True, False])
def test_it_is_off_inside_and_as_before_afterwards(was_enabled: bool) -> None:
    try:
        gc.enable() if was_enabled else gc.disable()
        with pytest.raises(KeyError), paused_garbage_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()
