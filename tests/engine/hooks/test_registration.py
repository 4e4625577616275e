from __future__ import annotations

import pytest

from solo.engine import hooks
from solo.registry import HOOKS


@pytest.mark.parametrize("name", hooks.__all__)
def test_configs_can_name_every_hook(name: str) -> None:
    hook = getattr(hooks, name)
    HOOKS.import_from_location()
    assert hook in HOOKS.module_dict.values()
