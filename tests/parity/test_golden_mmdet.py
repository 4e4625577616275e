"""Recorded numbers of mmdet 3.3.0's SOLOv2 R50 and SOLOv2-light R18: our configs' models meet them.

Unlike `test_against_mmdet.py` this needs no mmdet head at run time and covers the full-size architectures.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from solo.models import SOLOv2
from solo.ops import boxes_from_masks, downsample_masks, mass_centers, matrix_nms
from solo.registry import MODELS
from solo.structures import GridTargets, GroundTruth, SOLOv2Outputs
from tests.parity.golden import Golden
from tests.parity.mmdet_oracle import our_name, our_state_dict

CONFIGS = Path(__file__).parents[2] / "configs" / "solov2"
FIXTURES = {
    "mmdet_solov2_r50": "solov2_r50_fpn_1x_coco.py",
    "mmdet_solov2_light_r18": "solov2-light_r18_fpn_ms-3x_coco.py",
}
CASES = ["caseA", "caseB", "caseC"]


@pytest.fixture(scope="module", params=FIXTURES)
def golden(request: pytest.FixtureRequest, shared_golden: Path) -> Golden:
    return Golden(shared_golden / request.param)


@pytest.fixture(scope="module")
def model(golden: Golden) -> SOLOv2:
    config = Config.fromfile(CONFIGS / FIXTURES[golden.meta["fixture"]]).model
    config.backbone.init_cfg = None
    config.criterion.mask_loss_norm = "cells"
    model = MODELS.build(config)
    model.load_state_dict(our_state_dict(golden.state_dict()))
    return model.eval()


@pytest.fixture(scope="module")
def outputs(model: SOLOv2, golden: Golden) -> SOLOv2Outputs:
    with torch.no_grad():
        return model(golden.tensor("input"))


def ground_truth(golden: Golden, case: str) -> list[GroundTruth]:
    images = []
    for image in range(2):
        prefix = f"{case}.gt{image}"
        masks = golden.masks(f"{prefix}.masks")
        images.append(
            GroundTruth(
                labels=golden.tensor(f"{prefix}.labels"),
                boxes=golden.tensor(f"{prefix}.boxes"),
                centers=mass_centers(masks),
                masks=downsample_masks(masks),
            )
        )
    return images


def test_every_weight_has_its_place(model, golden):
    assert sum(parameter.numel() for parameter in model.parameters()) == golden.meta["parameters_total"]


def test_network(model, outputs, golden):
    features = model.backbone(golden.tensor("input"))
    pyramid = model.neck(features)
    for level, feature in enumerate(features):
        assert golden.difference(f"backbone.{level}", feature) <= 1
    for level, feature in enumerate(pyramid):
        assert golden.difference(f"fpn.{level}", feature) <= 1
    unflatten = model.assigner.grid.unflatten
    for level, (logits, kernels) in enumerate(
        zip(unflatten(outputs.cls_logits), unflatten(outputs.kernels), strict=True)
    ):
        assert golden.difference(f"cls_logits.{level}", logits) <= 1
        assert golden.difference(f"kernel.{level}", kernels) <= 1
    assert golden.difference("mask_feats", outputs.mask_feats) <= 1


@pytest.mark.parametrize("image", [0, 1])
def test_candidates(model, outputs, golden, image):
    """Those left after the area filter, in the order (cell, class), and their decayed scores without a threshold."""
    postprocess = model.postprocess
    cell_scores = postprocess._cell_scores(outputs.cls_logits)[image]
    candidates, probabilities = postprocess._draw(cell_scores, outputs.kernels[image], outputs.mask_feats[image])
    recorded = {
        name: golden.tensor(f"cand{image}.{name}")
        for name in ("cell", "label", "area", "cls_score", "score", "decayed")
    }
    masks = (probabilities > postprocess.mask_thr)[candidates.rows]
    assert torch.equal(candidates.cells, recorded["cell"].long())
    assert torch.equal(candidates.labels, recorded["label"].long())
    assert (cell_scores[candidates.cells, candidates.labels] - recorded["cls_score"]).abs().max() <= 5e-5
    assert (masks.sum(dim=(1, 2)) - recorded["area"]).abs().max() <= 2
    assert (candidates.scores - recorded["score"]).abs().max() <= 2e-3
    order = candidates.scores.argsort(descending=True)
    decayed = torch.empty_like(candidates.scores)
    decayed[order] = matrix_nms(masks[order], candidates.labels[order], candidates.scores[order])
    assert (decayed - recorded["decayed"]).abs().max() <= 2e-3


@pytest.mark.parametrize("image", [0, 1])
def test_detections(model, outputs, golden, image):
    """Matched by label and mask, never by position: near-equal scores may swap."""
    results = model.postprocess(
        outputs,
        image_sizes=[tuple(size) for size in golden.arrays["img_shapes"].tolist()],
        original_sizes=[tuple(size) for size in golden.arrays["ori_shapes"].tolist()],
    )[image]
    scores, labels = golden.tensor(f"pred{image}.scores"), golden.tensor(f"pred{image}.labels")
    masks = golden.masks(f"pred{image}.masks")
    assert len(results) == len(scores) == int(golden.arrays[f"pred{image}.counts"][2])
    unmatched = 0
    for score, label, mask in zip(results.scores, results.labels, results.masks, strict=True):
        different = (masks != mask).flatten(1).float().mean(dim=1)
        same = (labels == label) & (different <= 2e-3) & ((scores - score).abs() <= 2e-3)
        unmatched += not bool(same.any())
    full = len(scores) == model.postprocess.max_per_img
    assert unmatched <= int(full), "only the last of a full list may differ"
    assert torch.equal(results.bboxes, boxes_from_masks(results.masks))


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_matrix_nms_alone(golden, kernel):
    masks, labels, scores = golden.masks("nms.masks"), golden.tensor("nms.labels"), golden.tensor("nms.scores")
    order = scores.argsort(descending=True)
    decayed = torch.empty_like(scores)
    decayed[order] = matrix_nms(masks[order], labels[order], scores[order], kernel=kernel)
    recorded, index = golden.tensor(f"nms.{kernel}.scores"), golden.tensor(f"nms.{kernel}.index")
    assert (decayed[index] - recorded).abs().max() <= 2e-6


def assert_targets(golden: Golden, prefixes: list[str], targets: GridTargets, model: SOLOv2) -> None:
    """Labels, cells and masks of every image and level are the recorded ones."""
    grid = model.assigner.grid
    starts = [sum(grid.level_sizes[:level]) for level in range(grid.num_levels)]
    for image, prefix in enumerate(prefixes):
        mine = targets.image_idx == image
        pairs = zip(targets.cell_idx[mine].tolist(), targets.masks[targets.object_idx[mine]], strict=True)
        found = sorted((cell, mask.numpy().tobytes()) for cell, mask in pairs)
        expected = []
        for level, (start, size) in enumerate(zip(starts, grid.level_sizes, strict=True)):
            name = f"{prefix}.{level}"
            assert torch.equal(
                targets.labels[image, start : start + size], golden.tensor(f"{name}.labels").flatten().long()
            )
            masks = golden.masks(f"{name}.masks")
            cells = golden.arrays[f"{name}.index"].tolist()
            expected += [(start + cell, mask.numpy().tobytes()) for cell, mask in zip(cells, masks, strict=True)]
        assert found == sorted(expected)


@pytest.mark.parametrize("case", CASES)
def test_targets(model, golden, case):
    targets = model.assigner(ground_truth(golden, case), (32, 40))
    assert_targets(golden, [f"{case}.tgt0", f"{case}.tgt1"], targets, model)


def test_targets_on_a_larger_canvas(model, golden):
    masks = golden.masks("big.gt0.masks")
    truth = GroundTruth(
        labels=golden.tensor("big.gt0.labels"),
        boxes=golden.tensor("big.gt0.boxes"),
        centers=mass_centers(masks),
        masks=downsample_masks(masks),
    )
    assert_targets(golden, ["big.tgt0"], model.assigner([truth], (128, 160)), model)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(model, golden, case):
    model.zero_grad()
    outputs = model(golden.tensor("input"))
    losses = model.criterion(outputs, model.assigner(ground_truth(golden, case), (32, 40)))
    for name in ("loss_mask", "loss_cls"):
        assert float(losses[name].detach()) == pytest.approx(float(golden.arrays[f"{case}.{name}"]), rel=1e-4)
    (losses["loss_mask"] + losses["loss_cls"]).backward()
    parameters = dict(model.named_parameters())
    norms = golden.tensor(f"{case}.grad_norms")
    for name, norm in zip(golden.meta["gradient_parameters"], norms, strict=True):
        gradient: Tensor = parameters[our_name(name)].grad
        # The peer gives the kernel branch no gradient at all without positives (NaN); ours gives zeros.
        expected = 0.0 if norm.isnan() else float(norm)
        assert float(gradient.norm()) == pytest.approx(expected, rel=2e-3, abs=1e-12), name
        if case == "caseA":
            sample = gradient.flatten()[:: max(1, gradient.numel() // 64)][:64]
            recorded = golden.tensor(f"caseA.grad.{name}")
            assert (sample - recorded).abs().max() <= 2e-3 * recorded.abs().max(), name
