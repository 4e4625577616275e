"""The bias-corrected average: shares by hand, Paddle's buffers as the oracle, checkpoints and resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from solo.config import load_config
from solo.engine.hooks.ema import BiasCorrectedEMA, newest_share
from solo.errors import ConfigError
from solo.registry import DATASETS, MODELS


class Buffer:
    """Paddle's way for one tensor: an average that starts at zero, and a correction when it is asked for."""

    def __init__(self, decay: float) -> None:
        self.decay, self.step, self.product = decay, 0, 1.0
        self.value: Tensor | float = 0.0

    def update(self, weights: Tensor) -> None:
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        self.value = decay * self.value + (1 - decay) * weights
        self.product *= decay
        self.step += 1

    def corrected(self) -> Tensor:
        return self.value / (1 - self.product)


def test_first_shares_by_hand() -> None:
    """d is 1/10, 2/11, 3/12: the shares are 1, (9/11) / (1 - 2/110), (9/12) / (1 - 6/1320)."""
    assert newest_share(1, 0.9998) == pytest.approx(1)
    assert newest_share(2, 0.9998) == pytest.approx((9 / 11) / (1 - 2 / 110))
    assert newest_share(3, 0.9998) == pytest.approx((9 / 12) / (1 - 6 / 1320))


def test_last_shares_by_hand() -> None:
    """t / (9 + t) reaches 0.9998 at t = 44,991."""
    assert newest_share(44_990, 0.9998) == pytest.approx(9 / 44_999, rel=1e-9)
    for update in (44_991, 50_000, 10**7):
        assert newest_share(update, 0.9998) == pytest.approx(2e-4, rel=1e-9)


@given(update=st.integers(1, 300), decay=st.floats(0, 0.999))
def test_share_against_the_product(update: int, decay: float) -> None:
    decays = [min(decay, step / (9 + step)) for step in range(1, update + 1)]
    assert newest_share(update, decay) == pytest.approx((1 - decays[-1]) / (1 - math.prod(decays)))


class OperationNames(TorchDispatchMode):
    """Collects what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Counted(nn.Module):
    """A weight, a normalisation with its statistics and count."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.5, 0.9998])
def test_average_against_paddles_buffers(decay: float, generator: torch.Generator) -> None:
    model = Counted()
    average = BiasCorrectedEMA(model, decay=decay)
    floats = [name for name, value in model.state_dict().items() if value.is_floating_point()]
    buffers = {name: Buffer(decay) for name in floats}
    for step in range(1, 30):
        for name, value in model.state_dict().items():
            if name in buffers:
                value.copy_(torch.randn(value.shape, generator=generator))
                buffers[name].update(value.clone())
            else:
                value.fill_(step)
        average.update_parameters(model)
        expected = {name: buffer.corrected() for name, buffer in buffers.items()}
        for name, value in average.module.state_dict().items():
            torch.testing.assert_close(value, expected.get(name, torch.tensor(step)), rtol=1e-4, atol=1e-6)


def test_average_of_constant_weights_is_constant() -> None:
    model = Counted()
    average = BiasCorrectedEMA(model)
    nn.init.constant_(model.linear.weight, 3.0)
    for _ in range(50):
        average.update_parameters(model)
    assert torch.allclose(average.module.linear.weight, torch.full((2, 3), 3.0))
    assert not any(parameter.requires_grad for parameter in average.parameters())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_impossible_decay(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        BiasCorrectedEMA(Counted(), decay=decay)


# ----------------------------------------------------------------------------------------------------- in a training
@MODELS.register_module(force=True)
class OneWeight(BaseModel):
    """Its weight goes up by the learning rate in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        return {"loss": -self.weight} if mode == "loss" else [self.weight.item()]


@DATASETS.register_module(force=True)
class FourZeros(Dataset):
    """Four samples."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": torch.zeros(1)}


@pytest.fixture(autouse=True)
def _scope_afterwards() -> Any:
    yield
    init_default_scope("solo")


def train(work_dir: Path, *, epochs: int, resume: bool = False) -> Runner:
    runner = Runner.from_cfg(
        dict(
            default_scope="solo",
            work_dir=str(work_dir),
            experiment_name=f"{work_dir.name}_{epochs}",
            model=dict(type="OneWeight"),
            train_dataloader=dict(
                batch_size=2, dataset=dict(type="FourZeros"), sampler=dict(type="DefaultSampler", shuffle=False)
            ),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=1.0, momentum=0.5)),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            custom_hooks=[dict(type="BiasCorrectedEMAHook", decay=0.5)],
            visualizer=dict(type="mmengine.Visualizer", vis_backends=[]),
            resume=resume,
        )
    )
    runner.train()
    return runner


def test_checkpoint_holds_the_average_and_resumes_both(tmp_path: Path) -> None:
    train(tmp_path / "whole", epochs=3)
    train(tmp_path / "parts", epochs=1)
    train(tmp_path / "parts", epochs=3, resume=True)
    whole, parts = (torch.load(tmp_path / name / "epoch_3.pth", weights_only=False) for name in ("whole", "parts"))
    weights, velocity, buffer = 0.0, 0.0, Buffer(0.5)
    for _ in range(6):
        velocity = 0.5 * velocity + 1
        weights += velocity
        buffer.update(torch.tensor(weights))
    assert whole["state_dict"]["weight"].item() == pytest.approx(buffer.corrected().item())
    assert whole["ema_state_dict"]["module.weight"].item() == pytest.approx(weights)
    assert whole["ema_state_dict"]["steps"] == 6
    for key in ("state_dict", "ema_state_dict"):
        assert parts[key].keys() == whole[key].keys()
        assert all(torch.equal(parts[key][name], value) for name, value in whole[key].items())


def test_validation_sees_the_average_and_training_goes_on(tmp_path: Path) -> None:
    runner = train(tmp_path / "run", epochs=1)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "BiasCorrectedEMAHook")
    trained, averaged = runner.model.weight.item(), hook.ema_model.module.weight.item()
    assert trained != averaged
    hook.before_val_epoch(runner)
    assert runner.model.weight.item() == averaged
    hook.after_val_epoch(runner)
    assert runner.model.weight.item() == trained


def test_a_misspelt_option_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(
        "default_scope='solo'\ncustom_hooks = [dict(type='BiasCorrectedEMAHook', decai=0.9)]\n"
    )
    with pytest.raises(ConfigError, match=r"custom_hooks\.0\.decai"):
        load_config(tmp_path / "config.py")


def test_one_operation_for_all_weights() -> None:
    model = Counted()
    average = BiasCorrectedEMA(model)
    with OperationNames() as operations:
        average.update_parameters(model)
    assert operations.names.count("_foreach_lerp_") == 1
    assert operations.names.count("lerp_") == 0
