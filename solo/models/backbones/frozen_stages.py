"""What backbones share whose first stages can be frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenStagesBackbone(BaseModule):
    """Base of backbones: norms of frozen stages, or all of them, keep their statistics in training.

    A subclass calls `freeze` once its stages are built.

    Args:
        num_stages: largest number of stages that can be frozen.
        frozen_stages: as many stages are not trained; 0 freezes the first layer alone, -1 nothing.
        norm_eval: keep the statistics of all batch normalisations.

    Raises:
        ValueError: `frozen_stages` is not in [-1, num_stages].
    """

    def __init__(
        self, *, num_stages: int, frozen_stages: int, norm_eval: bool, init_cfg: dict[str, Any] | None
    ) -> None:
        super().__init__(init_cfg)
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f"frozen_stages must be in [-1, {num_stages}], got {frozen_stages}")
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval

    def frozen_modules(self) -> Sequence[nn.Module]:
        """The modules that `frozen_stages` keeps as they are."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Take the gradients from the frozen modules."""
        for module in self.frozen_modules():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenStagesBackbone:
        """Set the mode; norms of frozen stages, or all with `norm_eval`, stay in evaluation mode."""
        super().train(mode)
        for module in [self] if self.norm_eval else self.frozen_modules():
            for norm in module.modules():
                if isinstance(norm, _BatchNorm):
                    norm.eval()
        return self
