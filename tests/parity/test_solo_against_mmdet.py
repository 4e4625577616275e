"""SOLO, Decoupled SOLO and its light model in mmdet 3.3.0 and here, with the same weights and images.

Inputs are those of `test_against_mmdet.py`: random with a fixed seed, SOLO_SEED=... selects another one.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.state_dict import convert_from_ours
from solo.models import SOLOv2
from solo.models.decoders import build_mask_decoder
from tests.helpers.mmdet_oracle import HEADS, MMDetSOLOv2, build_our_solo, model_options, our_state_dict, randomise
from tests.helpers.parity_inputs import (
    CASES,
    GEOMETRIES,
    random_batch,
    relative_difference,
    to_ground_truth,
    to_mmdet,
    to_sample,
)

pytest.importorskip("mmdet")
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),  # of mmdet
]


class Models(NamedTuple):
    reference: MMDetSOLOv2
    ours: SOLOv2
    kind: str


@pytest.fixture(scope="module")
def generator() -> torch.Generator:
    seed = int(os.environ.get("SOLO_SEED", 0))
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=HEADS)
def models(request: pytest.FixtureRequest, generator: torch.Generator) -> Models:
    options = model_options(num_convs=3)
    reference, ours = MMDetSOLOv2(options, kind=request.param), build_our_solo(request.param, options)
    randomise(reference, generator)
    for name, parameter in reference.mask_head.named_parameters():
        if name.startswith("conv_mask") and name.endswith("bias"):
            torch.nn.init.constant_(parameter, 1.0)  # masks of some size
    ours.load_state_dict(our_state_dict(reference.state_dict()))
    with torch.no_grad():
        # Some hundred class scores above the threshold, as a trained model has them.
        logits = ours(torch.randn(2, 3, 128, 160, generator=generator)).cls_logits
        reference.mask_head.conv_cls.bias += torch.tensor(0.1).logit() - logits.flatten().topk(800).values[-1]
    ours.load_state_dict(our_state_dict(reference.state_dict()))
    return Models(reference.eval(), ours.eval(), request.param)


def test_mmdet_takes_our_weights_back(models: Models) -> None:
    weights, report = convert_from_ours(models.ours.state_dict(), dialect=DIALECTS["mmdet"])
    assert report.complete
    assert models.reference.load_state_dict(weights, strict=True)


def test_masks_of_all_cells(models: Models, generator: torch.Generator) -> None:
    """In evaluation mmdet's heads give probabilities, enlarged to stride 4, of every cell."""
    inputs = torch.randn(2, 3, 128, 160, generator=generator)
    with torch.no_grad():
        *mask_levels, _ = models.reference(inputs)
        outputs = models.ours(inputs)
        for image in (0, 1):
            if models.kind == "solo":
                expected = torch.cat([level[image] for level in mask_levels[0]])
            else:
                pairs = zip(*mask_levels, strict=True)
                expected = torch.cat([(y[image][:, None] * x[image][None]).flatten(0, 1) for x, y in pairs])
            decoded = build_mask_decoder(outputs).decode(image, torch.arange(len(expected)))
            assert float((decoded - expected).abs().max()) <= 1e-5


@pytest.mark.parametrize(("size", "case"), CASES)
def test_targets(models: Models, generator: torch.Generator, size: tuple[int, int], case: str) -> None:
    reference, ours, kind = models
    batch = random_batch(size, case, generator)
    targets = ours.assigner([to_ground_truth(objects) for objects in batch], (size[0] // 4, size[1] // 4))
    grid, strides = ours.assigner.grid, ours.head.mask_strides
    first_cells = np.cumsum((0, *grid.level_sizes))
    by_stride = {4: targets.masks, **targets.coarse_masks}
    sizes = [(size[0] // stride, size[1] // stride) for stride in strides]
    for image, objects in enumerate(batch):
        masks, labels, where = reference.mask_head._get_targets_single(to_mmdet(objects), featmap_sizes=sizes)
        assert torch.equal(targets.labels[image], torch.cat([level.flatten() for level in labels]))
        found, expected = {}, {}
        for cell, row in zip(
            targets.cell_idx[targets.image_idx == image].tolist(),
            targets.object_idx[targets.image_idx == image].tolist(),
            strict=True,
        ):
            level = int(np.searchsorted(first_cells, cell, side="right")) - 1
            assert cell not in found, "a cell has one mask"
            found[cell] = by_stride[strides[level]][row]
        for level, (level_masks, place) in enumerate(zip(masks, where, strict=True)):
            cells = place.nonzero()[:, 0] if kind == "solo" else place @ torch.tensor([grid.num_grids[level], 1])
            for cell, mask in zip(cells.tolist(), level_masks, strict=True):
                expected[int(first_cells[level]) + cell] = mask.bool()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[cell], mask) for cell, mask in expected.items())


def peer_losses(models: Models, inputs: Tensor, batch: list) -> dict[str, Tensor]:
    reference = models.reference
    features = reference.neck(reference.backbone(inputs))
    reference.mask_head.train()
    try:
        outputs = reference.mask_head(features)
    finally:
        reference.mask_head.eval()
    return reference.mask_head.loss_by_feat(*outputs, [to_mmdet(objects) for objects in batch], [{} for _ in batch])


@pytest.mark.parametrize(("size", "case"), CASES)
def test_losses_and_gradients(models: Models, generator: torch.Generator, size: tuple[int, int], case: str) -> None:
    inputs = torch.randn(2, 3, *size, generator=generator)
    batch = random_batch(size, case, generator)
    expected = peer_losses(models, inputs, batch)
    losses = models.ours(inputs, [to_sample(objects) for objects in batch], mode="loss")
    for name in ("loss_cls", "loss_mask"):
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=1e-5)
    for model, values in ((models.ours, losses), (models.reference, expected)):
        model.zero_grad()
        sum(values.values()).backward()
    gradients = {name: parameter.grad for name, parameter in models.ours.named_parameters()}
    compared = our_state_dict({name: parameter.grad for name, parameter in models.reference.named_parameters()})
    assert gradients.keys() == compared.keys()
    for name, gradient in compared.items():
        if not gradient.any():  # a level without positives
            assert not gradients[name].any(), name
        else:
            assert relative_difference(gradients[name], gradient) <= 2e-4, name


@pytest.mark.parametrize(("image_size", "original_size"), GEOMETRIES)
def test_detections(
    models: Models, generator: torch.Generator, image_size: tuple[int, int], original_size: tuple[int, int]
) -> None:
    inputs = torch.randn(2, 3, 128, 160, generator=generator)
    meta = dict(img_shape=image_size, ori_shape=original_size)
    with torch.no_grad():
        outputs = models.reference(inputs)
        peer_results = models.reference.mask_head.predict_by_feat(
            *outputs, batch_img_metas=[dict(meta) for _ in range(2)]
        )
        results = models.ours(inputs, [BaseDataElement(metainfo=meta) for _ in range(2)], mode="predict")
    for sample, expected in zip(results, peer_results, strict=True):
        found = sample.pred_instances
        assert len(found) == len(expected) > 2
        # A pixel within rounding of the threshold moves a score by less than its share of the mask.
        assert torch.allclose(found.scores, expected.scores, atol=1e-3)
        for row in range(len(found)):
            twins = ((expected.scores - found.scores[row]).abs() <= 1e-3) & (expected.labels == found.labels[row])
            assert twins.any()
            differing = (expected.masks[twins] != found.masks[row]).flatten(1).sum(dim=1).min()
            assert int(differing) <= max(2, found.masks[row].numel() // 5_000)
