from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from solo.models import SOLOv2
from solo.registry import MODELS
from solo.structures import GridTargets, GroundTruth, SOLOv2Outputs
from tests.helpers.counters import OperationCounter
from tests.helpers.tiny_model import (
    NUM_CLASSES,
    build_tiny,
    prediction_sample,
    rectangles,
    tiny_config,
    training_sample,
)

SIZE = (64, 96)
NUM_CELLS = 120


@pytest.fixture(scope="module")
def model() -> SOLOv2:
    return build_tiny()


def images(count: int, *, size: tuple[int, int] = SIZE, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def objects_of(image: int) -> BaseDataElement:
    """Three objects in the even images, one of them across levels and one that shares its cell; one in the odd."""
    if image % 2:
        return training_sample(rectangles(SIZE, (50, 20, 80, 60)), [1])
    return training_sample(rectangles(SIZE, (4, 4, 20, 24), (10, 10, 90, 60), (5, 5, 19, 23)), [0, 2, 1])


def no_objects() -> BaseDataElement:
    return training_sample(rectangles(SIZE), [])


def gradients(model: SOLOv2, inputs: Tensor, samples: list[BaseDataElement]) -> dict[str, Tensor | None]:
    model.zero_grad(set_to_none=True)
    sum(model(inputs, samples, mode="loss").values()).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return found


def assign(model: SOLOv2, samples: list[BaseDataElement]) -> GridTargets:
    objects = [sample.gt_instances for sample in samples]
    size = SIZE[0] // 4, SIZE[1] // 4
    truth = [GroundTruth(o.labels, o.bboxes, o.centers, o.masks) for o in objects]
    return model.assigner(truth, size)


def predict(
    model: SOLOv2, inputs: Tensor, *, image_size: tuple[int, int] = SIZE, original: tuple[int, int] = SIZE
) -> Any:
    samples = [prediction_sample(image_size, original) for _ in inputs]
    with torch.no_grad():
        return [sample.pred_instances for sample in model(inputs, samples, mode="predict")]


# ------------------------------------------------------------------------------------------------------------ modes
def test_outputs(model: SOLOv2) -> None:
    outputs = model(images(2))
    assert isinstance(outputs, SOLOv2Outputs)
    assert outputs.cls_logits.shape == (2, NUM_CELLS, NUM_CLASSES)
    assert outputs.kernels.shape == (2, NUM_CELLS, 8)
    assert outputs.mask_feats.shape == (2, 8, 16, 24)


@pytest.mark.parametrize("size", [(1, 1), (33, 1), (31, 65), (64, 64)])
def test_the_model_pads_any_size(model: SOLOv2, size: tuple[int, int]) -> None:
    inputs = images(1, size=size)
    height, width = (-(-side // 32) * 32 for side in size)
    padded = torch.zeros(1, 3, height, width)
    padded[..., : size[0], : size[1]] = inputs
    with torch.no_grad():
        outputs, expected = model(inputs), model(padded)
    assert outputs.mask_feats.shape[-2:] == (height // 4, width // 4)
    assert all(torch.equal(*pair) for pair in zip(outputs, expected, strict=True))
    assert predict(model, inputs, image_size=size, original=(5, 9))[0].masks.shape[1:] == (5, 9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_groups", [4, 16])
def test_one_pixel_image_trains_and_predicts(num_groups: int, training: bool) -> None:
    """Also where each channel of the mask features is a group of its own."""
    model = build_tiny(mask_feature=dict(out_channels=16, num_groups=num_groups)).train(training)
    sample = training_sample(rectangles((1, 1), (0, 0, 1, 1)), [2])
    losses = model(images(1, size=(1, 1)), [sample], mode="loss")
    assert all(loss.isfinite() for loss in losses.values())
    assert predict(model, images(1, size=(1, 1)), image_size=(1, 1), original=(1, 1))[0].masks.shape[1:] == (1, 1)


def test_dynamic_kernels_of_three_by_three() -> None:
    model = build_tiny(kernel_size=3)
    outputs = model(images(1))
    assert outputs.kernels.shape == (1, NUM_CELLS, 72)
    assert all(gradient is not None for gradient in gradients(model, images(1), [objects_of(0)]).values())
    assert len(predict(model, images(1))[0]) >= 0


def test_num_classes_is_stated_once() -> None:
    model = MODELS.build({**tiny_config(), "num_classes": 7})
    assert model.num_classes == model.assigner.num_classes == model.criterion.num_classes == 7
    assert model(images(1)).cls_logits.shape[-1] == 7


def test_the_config_is_left_alone() -> None:
    config = tiny_config()
    before = copy.deepcopy(config)
    MODELS.build(config)
    assert config == before


@pytest.mark.parametrize("mode", ["loss", "predict"])
def test_samples_are_needed(model: SOLOv2, mode: str) -> None:
    with pytest.raises(ValueError, match=f"mode '{mode}' needs data_samples, one an image; got None"):
        model(images(1), mode=mode)  # type: ignore[arg-type]


def test_unknown_mode(model: SOLOv2) -> None:
    with pytest.raises(ValueError, match="'tensor', 'loss' or 'predict', not 'train'"):
        model(images(1), mode="train")  # type: ignore[arg-type]


def test_a_pyramid_that_does_not_start_at_stride_4() -> None:
    model = build_tiny(backbone=dict(out_indices=(1, 2, 3)), neck=dict(in_channels=[16, 32, 64]))
    with pytest.raises(ValueError, match=r"must be at stride 4: .*should be \(32, 32\), got \(16, 16\)"):
        model(torch.zeros(1, 3, 128, 128))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (dict(grid=dict(num_grids=[8, 6])), "num_grids, strides and scale_ranges must name the same levels"),
        (dict(head=dict(feature_strides=(4, 8, 16))), "do not fit a feature pyramid"),
        (dict(head=dict(num_groups=5)), "cannot be normalised in 5 groups"),
        (dict(criterion=dict(mask_loss_norm="mean")), "'targets', 'cells' or 'nonempty', not 'mean'"),
        (dict(assigner=dict(shared_cell="first")), "'later' or 'smaller', not 'first'"),
        (dict(postprocess=dict(nms=dict(type="MatrixNMS", kernel="box"))), "'gaussian' or 'linear', not 'box'"),
    ],
)
def test_a_wrong_setting_names_itself(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODELS.build(tiny_config(**parts))


# --------------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("kinds", ["objects", "objects and none", "none"])
@pytest.mark.parametrize("norm", ["targets", "cells", "nonempty"])
def test_every_parameter_gets_a_gradient(kinds: str, norm: str) -> None:
    model = build_tiny(criterion=dict(mask_loss_norm=norm)).train()
    samples = {
        "objects": [objects_of(0), objects_of(1)],
        "objects and none": [no_objects(), objects_of(1)],
        "none": [no_objects(), no_objects()],
    }[kinds]
    for name, gradient in gradients(model, images(2), samples).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        branch = name.split(".")[0]
        if kinds == "none" and (branch == "mask_feature" or "kernel" in name):
            assert gradient.abs().sum() == 0, name
        elif kinds == "objects" and gradient.ndim == 4:
            assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_without_objects_an_overflowing_mask_branch_gives_zero_gradients(value: float) -> None:
    model = build_tiny().train()
    with torch.no_grad():
        model.head.kernel_predictor.bias.fill_(value)
    outputs = model(images(1))
    assert not outputs.kernels.isfinite().any()
    for name, gradient in gradients(model, images(1), [no_objects()]).items():
        assert gradient is not None and gradient.isfinite().all(), name


def test_losses_of_a_batch_are_those_of_its_images(model: SOLOv2) -> None:
    """Both losses are sums over the batch divided by counts of the batch."""
    inputs, samples = images(2), [objects_of(0), objects_of(1)]
    with torch.no_grad():
        together = model(inputs, samples, mode="loss")
        alone = [model(inputs[i : i + 1], samples[i : i + 1], mode="loss") for i in range(2)]
    targets = [assign(model, samples[i : i + 1]) for i in range(2)]
    cells, positives = [int(t.num_cells) for t in targets], [len(t.cell_idx) for t in targets]
    assert cells[0] < positives[0], "objects share a cell"
    divisors = dict(
        loss_cls=(cells[0] + 1, cells[1] + 1, sum(cells) + 1),
        loss_mask=(*positives, sum(positives)),
    )
    for name, (first, second, both) in divisors.items():
        expected = (alone[0][name] * first + alone[1][name] * second) / both
        torch.testing.assert_close(together[name], expected)


def test_losses_twice_are_the_same_and_the_samples_stay(model: SOLOv2) -> None:
    inputs, samples = images(2), [objects_of(0), no_objects()]
    before = [sample.gt_instances.clone() for sample in samples]
    one, two = model(inputs, samples, mode="loss"), model(inputs, samples, mode="loss")
    assert all(torch.equal(one[name], two[name]) for name in one)
    for sample, old in zip(samples, before, strict=True):
        new = sample.gt_instances
        assert all(np.array_equal(new[name], old[name]) for name in ("labels", "bboxes", "centers"))
        assert all(np.array_equal(getattr(new.masks, name), getattr(old.masks, name)) for name in ("windows", "bits"))


def test_samples_with_tensors(model: SOLOv2) -> None:
    """Other pipelines than ours may give them."""
    sample, other = objects_of(0), objects_of(0)
    for name in ("labels", "bboxes", "centers"):
        other.gt_instances[name] = torch.from_numpy(sample.gt_instances[name])
    one, two = (model(images(1), [given], mode="loss") for given in (sample, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("smaller", [(32, 64), (40, 33)])
def test_objects_of_an_image_smaller_than_the_batch(model: SOLOv2, smaller: tuple[int, int]) -> None:
    """Its stride-4 masks are smaller than the mask features, and mean the same as padded ones."""
    masks = rectangles(smaller, (3, 5, 22, 30))
    padded = torch.zeros(1, *SIZE, dtype=torch.bool)
    padded[:, : smaller[0], : smaller[1]] = masks
    one = model(images(1), [training_sample(masks, [1])], mode="loss")
    two = model(images(1), [training_sample(padded, [1])], mode="loss")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_more_than_600_objects(model: SOLOv2, generator: torch.Generator) -> None:
    corners = torch.randint(0, 50, (640, 2), generator=generator).tolist()
    masks = rectangles(SIZE, *((x, y, x + 9, y + 7) for x, y in corners))
    sample = training_sample(masks, [row % NUM_CLASSES for row in range(640)])
    losses = model(images(1), [sample], mode="loss")
    assert all(loss.isfinite() for loss in losses.values())


def test_a_label_that_the_model_does_not_have(model: SOLOv2) -> None:
    with pytest.raises(ValueError, match="label 3 in the data, but the model has 3 classes"):
        model(images(1), [training_sample(rectangles(SIZE, (0, 0, 9, 9)), [3])], mode="loss")


@pytest.mark.parametrize("operation", ["item", "bool", "mask index", "nonzero"])
def test_the_counter_of_syncs_counts(operation: str) -> None:
    values = torch.tensor([0.0, 1.0])
    with OperationCounter() as syncs:
        if operation == "item":
            values[1].item()
        elif operation == "bool":
            bool(values[1] > 0)
        elif operation == "mask index":
            values[values > 0]
        else:
            values.nonzero()
    assert syncs.host_syncs


@pytest.mark.parametrize("kinds", ["objects", "none"])
def test_training_never_waits_for_the_device(kinds: str) -> None:
    """The assigner alone, which runs on the host, may look at values: once a batch, which cells are positive."""
    model = build_tiny().train()
    samples = [objects_of(0), objects_of(1)] if kinds == "objects" else [no_objects(), no_objects()]
    with OperationCounter() as everywhere:
        sum(model(images(2), samples, mode="loss").values()).backward()
    with OperationCounter() as host:
        assign(model, samples)
    assert everywhere.host_syncs == host.host_syncs
    assert "_local_scalar_dense" not in everywhere.host_syncs


# ------------------------------------------------------------------------------------------------------- prediction
def test_detections_of_a_batch_are_those_of_its_images(model: SOLOv2) -> None:
    inputs = images(2)
    together = predict(model, inputs, original=(50, 70))
    assert all(len(result) > 3 for result in together)
    for row, result in enumerate(together):
        alone = predict(model, inputs[row : row + 1], original=(50, 70))[0]
        assert torch.equal(result.labels, alone.labels)
        torch.testing.assert_close(result.scores, alone.scores)
        assert (result.masks != alone.masks).sum() <= 3


def test_detections_twice_are_the_same(model: SOLOv2) -> None:
    one, two = predict(model, images(1))[0], predict(model, images(1))[0]
    assert len(one) > 3
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_inference_mode(model: SOLOv2) -> None:
    expected = predict(model, images(1))[0]
    with torch.inference_mode():
        result = model(images(1), [prediction_sample(SIZE)], mode="predict")[0].pred_instances
    assert torch.equal(result.scores, expected.scores)
    assert torch.equal(result.masks, expected.masks)


def test_sizes_with_channels(model: SOLOv2) -> None:
    """Some pipelines write (height, width, channels)."""
    sample = BaseDataElement(metainfo=dict(img_shape=(*SIZE, 3), ori_shape=(20, 30, 3)))
    with torch.no_grad():
        assert model(images(1), [sample], mode="predict")[0].pred_instances.masks.shape[1:] == (20, 30)


def test_bytes_to_detections_of_mixed_sizes(model: SOLOv2) -> None:
    sizes = [(1, 1), (45, 90), (33, 20)]
    raw_images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    samples = [prediction_sample(size, (2 * size[0], 3 * size[1])) for size in sizes]
    results = model.test_step(dict(inputs=raw_images, data_samples=samples))
    assert results == samples
    for sample, (height, width) in zip(results, sizes, strict=True):
        assert sample.pred_instances.masks.shape[1:] == (2 * height, 3 * width)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights(dtype: torch.dtype) -> None:
    """From bytes to detections, with nothing but the weights converted."""
    raw_images = [torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))]
    single = build_tiny().test_step(dict(inputs=raw_images, data_samples=[prediction_sample((50, 70))]))[0]
    model = build_tiny().to(dtype)
    outputs = model(images(1).to(dtype))
    assert {field.dtype for field in outputs} == {dtype}
    half = model.test_step(dict(inputs=raw_images, data_samples=[prediction_sample((50, 70))]))[0].pred_instances
    assert half.scores.dtype == torch.float32
    assert half.scores.isfinite().all()
    assert half.scores[0].item() == pytest.approx(single.pred_instances.scores[0].item(), abs=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(model: SOLOv2, dtype: torch.dtype) -> None:
    expected_losses = model(images(1), [objects_of(0)], mode="loss")
    expected = predict(model, images(1))[0]
    with torch.autocast("cpu", dtype=dtype):
        losses = model(images(1), [objects_of(0)], mode="loss")
        result = predict(model, images(1))[0]
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected_losses[name].item(), rel=0.05)
    assert result.scores.dtype == torch.float32
    assert result.scores[0].item() == pytest.approx(expected.scores[0].item(), abs=0.05)


@pytest.mark.parametrize("branch", ["category_predictor", "kernel_predictor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_broken_weights_still_predict(branch: str, value: float) -> None:
    model = build_tiny()
    with torch.no_grad():
        getattr(model.head, branch).bias.fill_(value)
    result = predict(model, images(1))[0]
    assert result.scores.isfinite().all()
    assert len(result.labels) == len(result.scores) == len(result.masks) == len(result.bboxes)


def test_weights_make_the_round_trip(model: SOLOv2) -> None:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build_tiny(seed=5)
    assert not torch.equal(other(images(1)).kernels, model(images(1)).kernels)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(*pair) for pair in zip(other(images(1)), model(images(1)), strict=True))


# --------------------------------------------------------------------------------------------------------- learning
def test_learns_one_rendered_image_by_heart() -> None:
    """Forward, backward, detect: three objects of two sizes and three classes on noise."""
    torch.manual_seed(0)
    size = (64, 64)
    boxes = [(6, 8, 24, 26), (34, 6, 58, 24), (14, 34, 54, 60)]
    masks = rectangles(size, *boxes)
    image = torch.randint(100, 140, (3, *size), dtype=torch.uint8)
    for mask, color in zip(masks, ([230, 40, 40], [40, 230, 40], [40, 40, 230]), strict=True):
        image[:, mask] = torch.tensor(color, dtype=torch.uint8)[:, None]
    model = MODELS.build(tiny_config(norm_eval=False)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    totals = []
    for _ in range(80):
        data = model.data_preprocessor(dict(inputs=[image] * 2, data_samples=[training_sample(masks, [0, 1, 2])] * 2))
        total = sum(model(**data, mode="loss").values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.2 * totals[0]

    result = model.eval().test_step(dict(inputs=[image], data_samples=[prediction_sample(size)]))[0].pred_instances
    confident = result[result.scores > 0.3]
    assert sorted(confident.labels.tolist()) == [0, 1, 2]
    for label, mask, box in zip(confident.labels, confident.masks, confident.bboxes, strict=True):
        expected = masks[label]
        assert (mask & expected).sum() / (mask | expected).sum() > 0.75
        assert (box - torch.tensor(boxes[label])).abs().max() <= 3
