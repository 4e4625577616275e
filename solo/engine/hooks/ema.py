"""Exponential moving average of the weights with a growing decay and bias correction, as in PaddleDetection."""

from __future__ import annotations

import math

from mmengine.hooks import EMAHook
from mmengine.model import BaseAveragedModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from solo.registry import HOOKS

RAMP_START, RAMP_LENGTH = 1, 10


@HOOKS.register_module()
class BiasCorrectedEMAHook(EMAHook):
    """Validate with an average of the weights, and save it as the weights of each checkpoint.

    mmengine's hook with `BiasCorrectedEMA`. A checkpoint also holds the trained weights; resuming restores both.

    Args:
        decay: decay of the average after the ramp.
    """

    def __init__(self, *, decay: float = 0.9998) -> None:
        super().__init__()
        self.decay = decay

    def before_run(self, runner: Runner) -> None:
        """Create the average of the model that the runner has built."""
        self.src_model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.ema_model = BiasCorrectedEMA(self.src_model, decay=self.decay)


class BiasCorrectedEMA(BaseAveragedModel):
    """The average a_t = d_t a_{t-1} + (1 - d_t) w_t from a_0 = 0 with d_t = min(decay, t / (9 + t)), bias-corrected.

    Update t = 1, 2, ... is PaddleDetection's update of step t - 1. The bias of the start at zero is corrected by
    dividing by 1 - d_1 ... d_t, the sum of the factors of all w: the average of constant weights is those weights.
    (PaddleDetection divides by 1 - d_t^t, which is the same where d is constant and differs by less than 2e-4 after
    100 updates.) Only the corrected average is stored: an update moves it by `newest_share` towards the new weights.

    Buffers such as the running statistics of norms are averaged like weights; integer buffers are copied.

    Args:
        model: the average starts as a copy of its weights.
        decay: in [0, 1).

    Raises:
        ValueError: decay is outside [0, 1).
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.9998) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {decay}")
        super().__init__(model, update_buffers=True)
        self.decay = decay

    def update_parameters(self, model: nn.Module) -> None:
        """Update the average with the weights of a model, in one fused operation."""
        # `steps` is a CPU tensor, wherever the model is.
        share = newest_share(int(self.steps) + 1, self.decay)
        averages, sources = self.module.state_dict(), model.state_dict()
        floats = [name for name, average in averages.items() if average.is_floating_point()]
        move = get_ema_multi_avg_fn(decay=1 - share)
        move([averages[name] for name in floats], [sources[name] for name in floats], None)
        for name in averages.keys() - set(floats):
            averages[name].copy_(sources[name])
        self.steps += 1


def newest_share(update: int, decay: float) -> float:
    """The weight of the newest model in the corrected average at an update: from 1 at update 1 down to 1 - decay.

    With P the product d_1 ... d_t it is (1 - d_t) / (1 - P); over the ramp P is t! 9! / (t + 9)!.
    """
    # The last update with t / (9 + t) < decay.
    ramp = max(0, math.ceil((RAMP_LENGTH - RAMP_START) * decay / (1 - decay)) - 1)
    ramped = min(update, ramp)
    product = math.prod(factor / (ramped + factor) for factor in range(RAMP_START, RAMP_LENGTH))
    current = min(decay, update / (RAMP_LENGTH - RAMP_START + update))
    return (1 - current) / (1 - product * decay ** (update - ramped))
