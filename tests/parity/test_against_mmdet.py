"""The same weights and the same images in mmdet 3.3.0 and here: same outputs, targets, losses, gradients, detections.

Inputs are random with a fixed seed, so that a run can be repeated; SOLO_SEED=... selects another one.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.state_dict import convert_from_ours
from solo.models import SOLOv2
from solo.structures import GroundTruth
from tests.helpers.bitmaps import mass_centers
from tests.helpers.ground_truth import ground_truth, sample_from
from tests.helpers.mmdet_oracle import MMDetSOLOv2, build_ours, model_options, our_state_dict, randomise

pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # of mmdet

SIZES = [(128, 160), (256, 192), (96, 96)]


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("SOLO_SEED", 0))


@pytest.fixture(scope="module")
def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def models(generator: torch.Generator) -> tuple[MMDetSOLOv2, SOLOv2]:
    options = model_options()
    peer, ours = MMDetSOLOv2(options), build_ours(options)
    randomise(peer, generator)
    # Class scores spread around the threshold, as a trained model's do.
    torch.nn.init.constant_(peer.mask_head.conv_cls.bias, -4.0)
    ours.load_state_dict(our_state_dict(peer.state_dict()))
    return peer.eval(), ours.eval()


def test_mmdet_takes_our_weights_back(models: tuple[MMDetSOLOv2, SOLOv2]) -> None:
    peer, ours = models
    weights, report = convert_from_ours(ours.state_dict(), dialect=DIALECTS["mmdet"])
    assert report.complete
    assert peer.load_state_dict(weights, strict=True)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in peer.state_dict().items())


def relative_difference(ours: Tensor, peer: Tensor) -> float:
    return float((ours - peer).abs().max() / peer.abs().max())


def draw_objects(height: int, width: int, *, count: int, num_classes: int, generator: torch.Generator) -> InstanceData:
    """Random ellipses as full-size masks with loose boxes, the way an annotation has them."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    masks, boxes = [], []
    for _ in range(count):
        center = torch.rand(2, generator=generator) * torch.tensor([width, height])
        radii = 2 + torch.rand(2, generator=generator) ** 2 * torch.tensor([width, height]) * 0.5
        mask = ((columns - center[0]) / radii[0]) ** 2 + ((rows - center[1]) / radii[1]) ** 2 < 1
        noise = torch.rand(4, generator=generator) * 0.9
        corners = torch.cat([center - radii, center + radii]) + noise
        boxes.append(corners.clamp(min=0).minimum(torch.tensor([width, height, width, height])))
        masks.append(mask)
    labels = torch.randint(num_classes, (count,), generator=generator)
    return InstanceData(
        labels=labels,
        bboxes=torch.stack(boxes).float() if boxes else torch.zeros(0, 4),
        masks=torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool),
    )


def away_from_borders(objects: InstanceData, *, num_grids: tuple[int, ...], size: tuple[int, int]) -> InstanceData:
    """Without objects whose centre region ends within a thousandth of a cell border, where rounding decides."""
    centers = mass_centers(objects.masks)
    reach = 0.1 * (objects.bboxes[:, 2:] - objects.bboxes[:, :2])
    extent = torch.tensor([size[1], size[0]])
    keep = torch.ones(len(objects), dtype=torch.bool)
    for points in (centers, centers - reach, centers + reach):
        for side in num_grids:
            cells = points / extent * side
            keep &= ~((cells - cells.round()).abs() < 1e-3).any(dim=1)
    return objects[keep | centers.isnan().any(dim=1)]


def special_cases(height: int, width: int) -> InstanceData:
    """Objects in one cell, outside every scale range, with an empty stride-4 mask, with an empty mask."""
    masks = torch.zeros(6, height, width, dtype=torch.bool)
    masks[0, 30:51, 41:70] = True
    masks[1, 31:52, 42:68] = True
    masks[2, 33:47, 45:66] = True
    masks[3, :, :] = True
    masks[4, 60:63, 80:82] = True
    boxes = torch.tensor(
        [
            [41, 30, 70, 51],
            [42, 31, 68, 52],
            [45, 33, 66, 47],
            [-900, -900, 900, 900],
            [80, 60, 82, 63],
            [10, 10, 30, 40],
        ]
    ).float()
    masks[4] = False
    masks[4, 63:65, 80:83] = True
    return InstanceData(labels=torch.tensor([0, 3, 1, 2, 4, 1]), bboxes=boxes, masks=masks)


def to_ground_truth(objects: InstanceData) -> GroundTruth:
    return ground_truth(objects.masks, objects.labels, boxes=objects.bboxes)


def to_mmdet(objects: InstanceData) -> InstanceData:
    from mmdet.structures.mask import BitmapMasks

    masks = objects.masks.numpy().astype(np.uint8)
    return InstanceData(
        labels=objects.labels,
        bboxes=objects.bboxes,
        masks=BitmapMasks(masks, *objects.masks.shape[-2:]),
    )


def draw_batch(size: tuple[int, int], case: str, generator: torch.Generator) -> list[InstanceData]:
    """Objects of two images of one padded size."""
    options = model_options()
    random_objects = [
        draw_objects(*size, count=count, num_classes=options["num_classes"], generator=generator) for count in (12, 5)
    ]
    random_objects = [away_from_borders(o, num_grids=options["num_grids"], size=size) for o in random_objects]
    if case == "special":
        return [away_from_borders(special_cases(*size), num_grids=options["num_grids"], size=size), random_objects[0]]
    if case == "one empty":
        return [random_objects[0], random_objects[1][:0]]
    return random_objects


CASES = [(size, "random") for size in SIZES] + [((128, 160), "special"), ((128, 160), "one empty")]


@pytest.mark.parametrize("size", SIZES)
def test_outputs(models, generator, size):
    peer, ours = models
    inputs = torch.randn(2, 3, *size, generator=generator)
    with torch.no_grad():
        kernels, cls_logits, mask_feats = peer(inputs)
        outputs = ours(inputs)
    flatten = ours.assigner.grid.flatten
    assert relative_difference(outputs.cls_logits, flatten(cls_logits)) <= 1e-5
    assert relative_difference(outputs.kernels, flatten(kernels)) <= 1e-5
    assert relative_difference(outputs.mask_feats, mask_feats) <= 1e-5


@pytest.mark.parametrize(("size", "case"), CASES)
def test_targets(models, generator, size, case):
    peer, ours = models
    batch = draw_batch(size, case, generator)
    mask_size = (size[0] // 4, size[1] // 4)
    targets = ours.assigner([to_ground_truth(objects) for objects in batch], mask_size)
    grid = ours.assigner.grid
    first_cells = np.cumsum((0, *grid.level_sizes[:-1]))
    positives = 0
    for image, objects in enumerate(batch):
        masks, labels, flags, indexes = peer.mask_head._get_targets_single(to_mmdet(objects), featmap_sizes=mask_size)
        assert torch.equal(targets.labels[image], torch.cat([level.flatten() for level in labels]))
        mine = targets.image_idx == image
        pairs = sorted(
            (int(cell), mask.numpy().tobytes())
            for cell, mask in zip(targets.cell_idx[mine], targets.masks[targets.object_idx[mine]], strict=True)
        )
        peer_pairs = sorted(
            (int(first + cell), mask.bool().numpy().tobytes())
            for first, level_cells, level_masks in zip(first_cells, indexes, masks, strict=True)
            for cell, mask in zip(level_cells, level_masks, strict=True)
        )
        assert pairs == peer_pairs
        positives += sum(int(level.sum()) for level in flags)
    assert int(targets.num_cells) == positives
    if case == "special":
        assert len(targets.cell_idx) > positives, "the case must hold objects that share cells"
        assert not targets.masks.flatten(1).any(dim=1).all(), "the case must hold an empty stride-4 mask"


def both_losses(models, inputs: Tensor, batch: list[InstanceData]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    peer, ours = models
    kernels, cls_logits, mask_feats = peer(inputs)
    peer_losses = peer.mask_head.loss_by_feat(
        kernels, cls_logits, mask_feats, [to_mmdet(objects) for objects in batch], [{} for _ in batch]
    )
    return ours(inputs, [to_sample(objects) for objects in batch], mode="loss"), peer_losses


def to_sample(objects: InstanceData) -> BaseDataElement:
    return sample_from(to_ground_truth(objects))


@pytest.mark.parametrize(("size", "case"), CASES)
def test_losses_and_gradients(models, generator, size, case):
    peer, ours = models
    inputs = torch.randn(2, 3, *size, generator=generator)
    losses, peer_losses = both_losses(models, inputs, draw_batch(size, case, generator))
    for name in ("loss_cls", "loss_mask"):
        assert losses[name].item() == pytest.approx(peer_losses[name].item(), rel=1e-5)
    for model, values in ((ours, losses), (peer, peer_losses)):
        model.zero_grad()
        sum(values.values()).backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    compared = our_state_dict({name: parameter.grad for name, parameter in peer.named_parameters()})
    assert gradients.keys() == compared.keys()
    for name, gradient in compared.items():
        assert relative_difference(gradients[name], gradient) <= 1e-4, name


# (height, width) of the image in the batch of 128 x 160, and of the picture it came from.
GEOMETRIES = [((128, 160), (128, 160)), ((120, 152), (150, 190)), ((100, 160), (61, 97))]


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize(("image_size", "original_size"), GEOMETRIES)
def test_detections(models, generator, image_size, original_size, kernel):
    peer, ours = models
    inputs = torch.randn(2, 3, 128, 160, generator=generator)
    peer.mask_head.test_cfg.kernel = kernel
    ours.postprocess.nms.kernel = kernel
    meta = dict(img_shape=image_size, ori_shape=original_size)
    with torch.no_grad():
        outputs = peer(inputs)
        peer_results = peer.mask_head.predict_by_feat(*outputs, batch_img_metas=[dict(meta) for _ in range(2)])
        results = ours(inputs, [BaseDataElement(metainfo=meta) for _ in range(2)], mode="predict")
    for sample, expected in zip(results, peer_results, strict=True):
        found = sample.pred_instances
        assert len(found) == len(expected) > 10
        assert torch.allclose(found.scores, expected.scores, atol=1e-5)
        # Equal scores may stand in either order: compare as sets of (label, mask) where they do.
        for row in range(len(found)):
            twins = (expected.scores - found.scores[row]).abs() <= 1e-5
            same_label = twins & (expected.labels == found.labels[row])
            assert same_label.any()
            differing = (expected.masks[same_label] != found.masks[row]).flatten(1).sum(dim=1).min()
            assert int(differing) <= max(1, found.masks[row].numel() // 10_000)
