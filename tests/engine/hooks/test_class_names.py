from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.runner import EpochBasedTrainLoop

from solo.engine.hooks import ClassNamesHook


@pytest.mark.parametrize(("resumes", "warnings"), [(True, 1), (False, 0)])
def test_checkpoint_with_other_names_warns_unless_it_initializes(
    monkeypatch: pytest.MonkeyPatch, resumes: bool, warnings: int
) -> None:
    logged: list[str] = []
    monkeypatch.setattr("solo.engine.hooks.class_names.print_log", lambda text, **_: logged.append(text))
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=("cat", "dog"))))
    runner: Any = SimpleNamespace(_train_loop=loop, _val_loop=None, _test_loop=None, _resume=resumes)
    checkpoint = dict(meta=dict(dataset_meta=dict(classes=("dog", "cat"))))
    ClassNamesHook().after_load_checkpoint(runner, checkpoint)
    assert len(logged) == warnings
    assert all("(dog, cat)" in text and "(cat, dog)" in text for text in logged)
    ClassNamesHook().after_load_checkpoint(runner, dict(meta={}))
    assert len(logged) == warnings
