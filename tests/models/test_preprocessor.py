from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from solo.masks.mask_windows import unpack_masks
from solo.models import ImagePreprocessor
from tests.helpers.tiny_model import prediction_sample, rectangles, training_sample


def preprocessor_of(**options: Any) -> ImagePreprocessor:
    return ImagePreprocessor(**{**dict(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 4.0]), **options})


def constant_image(blue: int, green: int, red: int, *, size: tuple[int, int] = (2, 3)) -> Tensor:
    return torch.tensor([blue, green, red], dtype=torch.uint8).view(3, 1, 1).expand(3, *size).contiguous()


def test_normalised_by_hand() -> None:
    """Mean and std are in the order after the swap: red, green, blue."""
    batch = preprocessor_of()(dict(inputs=[constant_image(50, 40, 12)]))["inputs"]
    assert batch.shape == (1, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert batch[0, :, :2, :3].flatten(1).unique(dim=1).flatten().tolist() == [2.0, 10.0, 5.0]
    batch[..., :2, :3] = 0
    assert batch.abs().max() == 0, "the padding is the mean color"


def test_without_the_swap() -> None:
    batch = preprocessor_of(bgr_to_rgb=False)(dict(inputs=[constant_image(12, 40, 50)]))["inputs"]
    assert batch[0, :, 0, 0].tolist() == [2.0, 10.0, 5.0]


@pytest.mark.parametrize(
    ("sizes", "padded"),
    [
        ([(1, 1)], (32, 32)),
        ([(32, 32)], (32, 32)),
        ([(33, 32)], (64, 32)),
        ([(31, 65), (64, 2)], (64, 96)),
        ([(5, 5), (100, 1), (1, 100)], (128, 128)),
    ],
)
def test_one_size_for_the_batch(sizes: list[tuple[int, int]], padded: tuple[int, int]) -> None:
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    batch = preprocessor_of()(dict(inputs=images))["inputs"]
    assert batch.shape == (len(sizes), 3, *padded)
    for row, (height, width) in enumerate(sizes):
        alone = preprocessor_of()(dict(inputs=[images[row]]))["inputs"]
        assert torch.equal(batch[row, :, :height, :width], alone[0, :, :height, :width])
        assert batch[row, :, height:].abs().sum() == batch[row, :, :, width:].abs().sum() == 0


def test_images_are_left_alone() -> None:
    image = constant_image(1, 2, 3)
    before = image.clone()
    preprocessor_of()(dict(inputs=[image]))
    assert torch.equal(image, before)


@pytest.mark.parametrize("data", [dict(), dict(data_samples=None)])
def test_without_samples(data: dict[str, Any]) -> None:
    assert preprocessor_of()(dict(inputs=[constant_image(1, 2, 3)], **data))["data_samples"] is None


def test_samples_pass_through() -> None:
    training, prediction = training_sample(rectangles((8, 8), (0, 0, 4, 4)), [1]), prediction_sample((8, 8))
    result = preprocessor_of()(dict(inputs=[constant_image(1, 2, 3)] * 2, data_samples=[training, prediction]))
    assert result["data_samples"] == [training, prediction]
    masks = unpack_masks([training.gt_instances.masks], (2, 2))
    assert torch.equal(masks, torch.tensor([[[True, False], [False, False]]]))
    assert isinstance(prediction, BaseDataElement) and "gt_instances" not in prediction


def test_samples_do_not_move_to_the_device() -> None:
    preprocessor = preprocessor_of()
    sample = training_sample(rectangles((8, 8), (0, 0, 4, 4)), [1])
    preprocessor.to("meta")
    result = preprocessor(dict(inputs=[constant_image(1, 2, 3)], data_samples=[sample]))
    assert result["inputs"].device.type == "meta"
    assert result["data_samples"] == [sample]
    assert all(isinstance(sample.gt_instances[name], np.ndarray) for name in ("labels", "bboxes", "centers"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_batch_in_the_type_of_the_weights(dtype: torch.dtype) -> None:
    images = [torch.arange(0, 255, dtype=torch.uint8).view(3, 5, 17)]
    options = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    batch = preprocessor_of(**options).to(dtype)(dict(inputs=images))["inputs"]
    assert batch.dtype == dtype
    expected = preprocessor_of(**options)(dict(inputs=images))["inputs"]
    torch.testing.assert_close(batch.float(), expected, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize(
    ("sizes", "padded"),
    [
        ([(3, 3)], (32, 64)),
        ([(33, 3)], (64, 32)),
        ([(33, 3), (3, 33)], (96, 96)),
        ([(60, 90)], (96, 96)),
        ([(97, 3)], (128, 32)),
    ],
    ids=["the smaller of two", "tall", "both sides", "room to spare", "none holds it"],
)
def test_padded_sizes(sizes: list[tuple[int, int]], padded: tuple[int, int]) -> None:
    preprocessor = preprocessor_of(padded_sizes=[(96, 96), (32, 64), (64, 32)])
    data = dict(inputs=[constant_image(1, 2, 3, size=size) for size in sizes])
    batch = preprocessor(dict(data), training=True)["inputs"]
    assert batch.shape[-2:] == padded
    plain = preprocessor_of()(dict(data), training=True)["inputs"]
    assert torch.equal(batch[..., : plain.shape[-2], : plain.shape[-1]], plain)
    assert batch[..., plain.shape[-2] :, :].abs().sum() == 0
    assert torch.equal(preprocessor(dict(data))["inputs"], plain), "predictions are padded as little as possible"


@pytest.mark.parametrize("size", [(32, 33), (0, 32), (32,)])
def test_a_padded_size_that_the_network_cannot_take(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"padded_sizes are \(H, W\) divisible by 32; got"):
        preprocessor_of(padded_sizes=[(32, 32), size])


def test_nothing_is_stored_in_checkpoints() -> None:
    assert preprocessor_of().state_dict() == {}
