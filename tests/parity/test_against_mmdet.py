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
from tests.helpers.mmdet_oracle import MMDetSOLOv2, build_ours, model_options, our_state_dict, randomise
from tests.helpers.parity_inputs import (
    CASES,
    GEOMETRIES,
    SIZES,
    random_batch,
    relative_difference,
    to_ground_truth,
    to_mmdet,
    to_sample,
)

pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # of mmdet


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("SOLO_SEED", 0))


@pytest.fixture(scope="module")
def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def models(generator: torch.Generator) -> tuple[MMDetSOLOv2, SOLOv2]:
    options = model_options()
    reference, ours = MMDetSOLOv2(options), build_ours(options)
    randomise(reference, generator)
    # Class scores spread around the threshold, as a trained model's do.
    torch.nn.init.constant_(reference.mask_head.conv_cls.bias, -4.0)
    ours.load_state_dict(our_state_dict(reference.state_dict()))
    return reference.eval(), ours.eval()


def test_mmdet_takes_our_weights_back(models: tuple[MMDetSOLOv2, SOLOv2]) -> None:
    reference, ours = models
    weights, report = convert_from_ours(ours.state_dict(), dialect=DIALECTS["mmdet"])
    assert report.complete
    assert reference.load_state_dict(weights, strict=True)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in reference.state_dict().items())


@pytest.mark.parametrize("size", SIZES)
def test_outputs(models, generator, size):
    reference, ours = models
    inputs = torch.randn(2, 3, *size, generator=generator)
    with torch.no_grad():
        kernels, cls_logits, mask_feats = reference(inputs)
        outputs = ours(inputs)
    flatten = ours.assigner.grid.flatten
    assert relative_difference(outputs.cls_logits, flatten(cls_logits)) <= 1e-5
    assert relative_difference(outputs.kernels, flatten(kernels)) <= 1e-5
    assert relative_difference(outputs.mask_feats, mask_feats) <= 1e-5


@pytest.mark.parametrize(("size", "case"), CASES)
def test_targets(models, generator, size, case):
    reference, ours = models
    batch = random_batch(size, case, generator)
    mask_size = (size[0] // 4, size[1] // 4)
    targets = ours.assigner([to_ground_truth(objects) for objects in batch], mask_size)
    grid = ours.assigner.grid
    first_cells = np.cumsum((0, *grid.level_sizes[:-1]))
    positives = 0
    for image, objects in enumerate(batch):
        masks, labels, flags, indexes = reference.mask_head._get_targets_single(
            to_mmdet(objects), featmap_sizes=mask_size
        )
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
    reference, ours = models
    kernels, cls_logits, mask_feats = reference(inputs)
    peer_losses = reference.mask_head.loss_by_feat(
        kernels, cls_logits, mask_feats, [to_mmdet(objects) for objects in batch], [{} for _ in batch]
    )
    return ours(inputs, [to_sample(objects) for objects in batch], mode="loss"), peer_losses


@pytest.mark.parametrize(("size", "case"), CASES)
def test_losses_and_gradients(models, generator, size, case):
    reference, ours = models
    inputs = torch.randn(2, 3, *size, generator=generator)
    losses, peer_losses = both_losses(models, inputs, random_batch(size, case, generator))
    for name in ("loss_cls", "loss_mask"):
        assert losses[name].item() == pytest.approx(peer_losses[name].item(), rel=1e-5)
    for model, values in ((ours, losses), (reference, peer_losses)):
        model.zero_grad()
        sum(values.values()).backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    compared = our_state_dict({name: parameter.grad for name, parameter in reference.named_parameters()})
    assert gradients.keys() == compared.keys()
    for name, gradient in compared.items():
        assert relative_difference(gradients[name], gradient) <= 1e-4, name


# (height, width) of the image in the batch of 128 x 160, and of the picture it came from.
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize(("image_size", "original_size"), GEOMETRIES)
def test_detections(models, generator, image_size, original_size, kernel):
    reference, ours = models
    inputs = torch.randn(2, 3, 128, 160, generator=generator)
    reference.mask_head.test_cfg.kernel = kernel
    ours.postprocess.nms.kernel = kernel
    meta = dict(img_shape=image_size, ori_shape=original_size)
    with torch.no_grad():
        outputs = reference(inputs)
        peer_results = reference.mask_head.predict_by_feat(*outputs, batch_img_metas=[dict(meta) for _ in range(2)])
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
