"""Any backbone of timm that has maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from solo.errors import ConfigError, suggestion
from solo.models.backbones.frozen_stages import FrozenStagesBackbone
from solo.registry import MODELS

STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class TimmBackbone(FrozenStagesBackbone):
    """A model of timm (`pip install solov2[timm]`, which brings torchvision) with `features_only`.

    Args:
        model_name: its name in timm, such as "convnext_tiny.in12k_ft_in1k".
        pretrained: start a training from timm's weights, which timm downloads then. A model that is filled from a
            checkpoint does not need them.
        frozen_stages: everything up to this many of the four maps is not trained, and its norms stay as they are; -1
            trains everything, 0 freezes the first layer alone.
        norm_eval: keep the statistics of all batch normalisations.
        options: further arguments of `timm.create_model`, such as dict(drop_path_rate=0.1).

    Attributes:
        channels: channels of the four maps, which `neck.in_channels` has to list.

    Shape:
        (B, 3, H, W), sides divisible by 32, -> maps at strides 4, 8, 16 and 32.

    Raises:
        ConfigError: timm is not installed, has no such model, or the model has other strides.
        ValueError: `frozen_stages` is not in [-1, 4].
    """

    def __init__(
        self,
        *,
        model_name: str,
        pretrained: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        options: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_stages=len(STRIDES), frozen_stages=frozen_stages, norm_eval=norm_eval, init_cfg=init_cfg)
        self.model_name, self.pretrained, self._options = model_name, pretrained, dict(options or {})
        self.body = self._create(pretrained=False)
        self.channels = tuple(self.body.feature_info.channels())
        self.freeze()

    def init_weights(self) -> None:
        """Initialise as timm does, or from timm's weights."""
        super().init_weights()
        if self.pretrained:
            self.body.load_state_dict(self._create(pretrained=True).state_dict())

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.body(inputs))

    def _create(self, *, pretrained: bool) -> Any:
        try:
            import timm
        except ImportError as error:
            raise ConfigError(f"model.backbone: TimmBackbone needs timm ({error}): pip install solov2[timm]") from None
        name = self.model_name.partition(".")[0]
        if not timm.is_model(name):
            known = timm.list_models()
            raise ConfigError(f"model.backbone.model_name: timm has no {self.model_name!r}{suggestion(name, known)}")
        create = dict(features_only=True, pretrained=pretrained, **self._options)
        strides = timm.create_model(self.model_name, **{**create, "pretrained": False}).feature_info.reduction()
        if missing := [stride for stride in STRIDES if stride not in strides]:
            raise ConfigError(
                f"model.backbone.model_name: {self.model_name!r} has maps at strides {list(strides)}, none at {missing}"
            )
        # The last of each stride, should there be several.
        indices = [len(strides) - 1 - list(reversed(strides)).index(stride) for stride in STRIDES]
        return timm.create_model(self.model_name, out_indices=indices, **create)

    def frozen_modules(self) -> list[nn.Module]:
        """The modules up to the last of `frozen_stages` maps; with 0 the first alone, the stem."""
        children = dict(self.body.named_children())
        if self.frozen_stages <= 0:
            return list(children.values())[: self.frozen_stages + 1]
        last = self.body.feature_info.module_name()[self.frozen_stages - 1].replace(".", "_")
        names = list(children)
        return [children[name] for name in names[: names.index(last) + 1]]
