"""Prediction on another device than the CPU: the same detections, no tensor of the wrong device, few waits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from solo.evaluation.detections import ImageDetections
from solo.inference.tta import MaskTTAModel
from tests.helpers.stand_in_device import DEVICE, move, stand_in_device
from tests.helpers.tiny_model import TINY_HEADS, build_random, tiny_config, tiny_solo_config

KINDS = ["solov2", *TINY_HEADS]
SIZES = [(64, 96), (60, 72)]
ORIGINAL_SIZE = (90, 110)
WAITS = {"bool": 9, "rle": 14}
"""How often the CPU waits for the device, for an image of SOLOv2."""


def build(kind: str, **postprocess: Any) -> Any:
    make = tiny_config if kind == "solov2" else lambda **parts: tiny_solo_config(kind, **parts)
    return build_random(make(postprocess=postprocess))


def batch(generator: torch.Generator) -> dict[str, Any]:
    images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES]
    samples = [
        BaseDataElement(metainfo=dict(img_shape=size, ori_shape=ORIGINAL_SIZE, flip=False, flip_direction=None))
        for size in SIZES
    ]
    return dict(inputs=images, data_samples=samples)


def predict(model: Any, given: dict[str, Any]) -> list[InstanceData]:
    with torch.no_grad():
        return [sample.pred_instances for sample in model.test_step(copy.deepcopy(given))]


def recorded(results: list[InstanceData]) -> list[bytes]:
    """What an evaluation keeps of detections."""
    return [ImageDetections.from_instances(0, result).to_bytes() for result in results]


@pytest.mark.parametrize("mask_format", WAITS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_detections(kind: str, mask_format: str, generator: torch.Generator) -> None:
    model, given = build(kind, mask_format=mask_format), batch(generator)
    expected = predict(model, given)
    assert all(len(result) > 3 for result in expected)
    with stand_in_device() as device:
        move(model)
        found = predict(model, given)
        waits = device.waits.total()  # before what follows looks at the detections
        assert all(result.scores.device == result.bboxes.device == DEVICE for result in found)
        assert recorded(found) == recorded(expected)
    if kind == "solov2":
        assert waits == len(SIZES) * WAITS[mask_format]


@pytest.mark.parametrize("nms", [dict(type="MatrixNMS", kernel="linear"), dict(type="MatrixNMS", sigma=1.0)])
def test_merged_views(nms: dict[str, Any], generator: torch.Generator) -> None:
    model, given = build("solov2", nms=nms), batch(generator)
    views = {key: [value, value] for key, value in given.items()}
    expected = predict(MaskTTAModel(model), views)
    with stand_in_device():
        move(model)
        assert recorded(predict(MaskTTAModel(model), views)) == recorded(expected)


def test_the_device_objects_as_a_gpu_does() -> None:
    with stand_in_device() as device:
        here = torch.arange(3.0).to(DEVICE, non_blocking=True)
        assert device.waits.total() == 0
        for meet in (lambda: here + torch.ones(3), lambda: torch.cat([here, torch.ones(1)]), lambda: here.numpy()):
            with pytest.raises((RuntimeError, TypeError)):
                meet()
        assert (here + torch.ones(()) + 1).tolist() == [2.0, 3.0, 4.0]
        assert float(here[1]) == 1.0
        assert len(here[here > 0]) == len(here[[0, 2]]) == 2
        assert torch.equal(here.cpu(), torch.arange(3.0))
        torch.tensor([1.0], device=DEVICE)
        assert {name: count for name, count in device.waits.items() if count} == {
            "tolist": 1,
            "_local_scalar_dense": 1,
            "index": 1,
            "index copied": 1,
            "copied": 2,
        }
