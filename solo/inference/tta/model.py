"""Test-time augmentation: a model that predicts several views of each image and merges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from solo.inference.tta.view_merging import View, merge_views
from solo.models.decoders import build_mask_decoder
from solo.registry import MODELS
from solo.structures import Outputs


@MODELS.register_module()
class MaskTTAModel(BaseModel):
    """Wraps a model for pipelines that end in `TestTimeAug`, as mmdet's `DetTTAModel` does for boxes.

    Args:
        module: the model, or its config: a `SOLOv2`.

    Raises:
        ValueError: the model has no `postprocess` with candidates to merge.
    """

    def __init__(self, module: dict[str, Any] | nn.Module) -> None:
        super().__init__()
        self.module: BaseModel = module if isinstance(module, nn.Module) else MODELS.build(module)
        if not hasattr(getattr(self.module, "postprocess", None), "candidates"):
            raise ValueError(f"test-time augmentation needs a model like SOLOv2, got {type(self.module).__name__}")

    def forward(
        self,
        inputs: Sequence[Sequence[Tensor]],
        data_samples: Sequence[Sequence[BaseDataElement]],
        mode: str = "predict",
    ) -> list[BaseDataElement]:
        """Predict images from their views.

        Args:
            inputs: for each view, a (3, H, W) tensor of each image.
            data_samples: likewise the samples, with the metainfo `img_shape`, `ori_shape`, `flip` and `flip_direction`.
            mode: "predict"; views support no other mode.

        Returns:
            The samples of the first view, with `pred_instances` in pixels of the original image.

        Raises:
            ValueError: another mode.
        """
        if mode != "predict":
            raise ValueError(f"mode must be 'predict' for views, not {mode!r}")
        views = [self._views(*batch) for batch in zip(inputs, data_samples, strict=True)]
        samples = list(data_samples[0])
        for sample, views_of_image in zip(samples, zip(*views, strict=True), strict=True):
            sample.pred_instances = merge_views(
                views_of_image, postprocess=self.module.postprocess, original_size=sample.ori_shape[:2]
            )
        return samples

    def test_step(self, data: dict[str, Any]) -> list[BaseDataElement]:
        """Predict a batch of a loader: as `forward`, from the dict that `TestTimeAug` returns."""
        return self(data["inputs"], data["data_samples"])

    def _views(self, images: Sequence[Tensor], samples: Sequence[BaseDataElement]) -> list[View]:
        """One view of each image."""
        batch = self.module.data_preprocessor(dict(inputs=images, data_samples=samples), False)
        outputs: Outputs = self.module(batch["inputs"], mode="tensor")
        decoder = build_mask_decoder(outputs)
        return [
            View(
                cls_logits=outputs.cls_logits[index],
                decoder=decoder,
                image=index,
                image_size=sample.img_shape[:2],
                flip_direction=sample.flip_direction if sample.flip else None,
            )
            for index, sample in enumerate(samples)
        ]
