from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from solo.engine.hooks import HostMemoryHook
from solo.engine.hooks.peak_memory import peak_memory_mb


def test_peak_memory_grows_with_use() -> None:
    before = peak_memory_mb()
    block = np.ones(2**26, dtype=np.uint8) * np.uint8(3)
    assert 10 < before <= peak_memory_mb() < 2**20
    assert block[-1] == 3


def test_memory_is_recorded_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: dict[str, float] = {}
    runner: Any = SimpleNamespace(message_hub=SimpleNamespace(update_scalar=recorded.__setitem__))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    HostMemoryHook().after_train_iter(runner, 0)
    assert recorded["train/memory_mb"] > 10
    recorded.clear()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    HostMemoryHook().after_train_iter(runner, 0)
    assert recorded == {}
