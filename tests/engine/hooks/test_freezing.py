from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.optim import OptimWrapper

from solo.engine.hooks import FreezeHook
from solo.errors import ConfigError
from tests.helpers.tiny_model import build_tiny, rectangles, training_sample


def batch() -> dict[str, Any]:
    sample = training_sample(rectangles((64, 64), (8, 8, 40, 40)), [1])
    sample.set_metainfo(dict(img_shape=(64, 64), ori_shape=(64, 64)))
    return dict(inputs=[torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)], data_samples=[sample])


def test_frozen_parameters_and_norms_stay_and_the_others_learn() -> None:
    model = build_tiny(norm_eval=False)
    hook = FreezeHook(names=["backbone.*", "head.*.bias"])
    assert hook.freeze(model) == sum(
        name.startswith("backbone.") or (name.startswith("head.") and name.endswith(".bias"))
        for name, _ in model.named_parameters()
    )
    hook.before_run(SimpleNamespace(model=model))  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    model.train()
    hook.before_train_iter(SimpleNamespace(), 0)  # type: ignore[arg-type]
    model.train_step(batch(), OptimWrapper(optimizer))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(not name.startswith("backbone.") for name in changed)
    assert "head.category_predictor.weight" in changed and "head.category_predictor.bias" not in changed


@pytest.mark.parametrize(
    ("names", "message"), [(["bakbone.*"], "'bakbone.*' matches no parameter"), (["*"], "leaves no parameter to train")]
)
def test_patterns_that_cannot_be_meant(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        FreezeHook(names=names).freeze(build_tiny())
    assert message in str(raised.value)
