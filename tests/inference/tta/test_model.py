"""The model of several views, from what a loader hands over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from solo.inference.tta import MaskTTAModel
from tests.helpers.tiny_model import build_tiny

SIZES = [(64, 96), (60, 72)]
AXES: dict[str | None, tuple[int, ...]] = {None: (), "horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}


def pictures(generator: torch.Generator) -> list[Tensor]:
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES]


def samples_of(flip_direction: str | None) -> list[BaseDataElement]:
    flip = dict(flip=flip_direction is not None, flip_direction=flip_direction)
    return [BaseDataElement(metainfo=dict(img_shape=size, ori_shape=size, **flip)) for size in SIZES]


def predict_plainly(model: Any, images: list[Tensor]) -> list[InstanceData]:
    return [sample.pred_instances for sample in model.test_step(dict(inputs=images, data_samples=samples_of(None)))]


@pytest.mark.parametrize("direction", AXES)
def test_a_flipped_view_alone_is_its_prediction_turned_back(direction: str | None, generator: torch.Generator) -> None:
    model, images = build_tiny(), pictures(generator)
    with torch.no_grad():
        expected = predict_plainly(model, images)
        merged = MaskTTAModel(model).test_step(dict(inputs=[images], data_samples=[samples_of(direction)]))
    for sample, plain in zip(merged, expected, strict=True):
        found = sample.pred_instances
        assert len(found) == len(plain) > 0
        assert torch.equal(found.scores, plain.scores)
        assert torch.equal(found.labels, plain.labels)
        assert torch.equal(found.masks, plain.masks.flip(AXES[direction]))


def test_views_of_each_picture_stay_together(generator: torch.Generator) -> None:
    """Two equal views merge to the detections of one, since a linear decay takes exact duplicates away."""
    model, images = build_tiny(postprocess=dict(nms=dict(type="MatrixNMS", kernel="linear"))), pictures(generator)
    with torch.no_grad():
        expected = predict_plainly(model, images)
        merged = MaskTTAModel(model).test_step(
            dict(inputs=[images, images], data_samples=[samples_of(None), samples_of(None)])
        )
    for sample, plain in zip(merged, expected, strict=True):
        assert len(plain) > 0
        assert torch.equal(sample.pred_instances.scores, plain.scores)
        assert torch.equal(sample.pred_instances.masks, plain.masks)


def test_as_many_samples_as_views(generator: torch.Generator) -> None:
    images = pictures(generator)
    with pytest.raises(ValueError, match="zip"):
        MaskTTAModel(build_tiny())([images, images], [samples_of(None)])
