"""Drawn head outputs have the candidates that were asked for, and their masks are blobs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.config import Config

from benchmarks.drawn_outputs import DrawnOutputs
from solo.config import load_config
from solo.errors import ConfigError
from solo.models.grid import Grid
from solo.ops import points_nms
from solo.registry import TASK_UTILS
from solo.structures import SOLOv2Outputs
from tests.helpers.tiny_benchmark import CONFIG, ROOT

R50 = ROOT / "configs/solov2/solov2_r50_fpn_1x_coco.py"


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(R50)


def detect(model: Any, outputs: SOLOv2Outputs, **options: Any) -> Any:
    settings = {**model.postprocess, **options}
    postprocess = TASK_UTILS.build({**settings, "grid": Grid(**model.grid), "nms": TASK_UTILS.build(settings["nms"])})
    height, width = outputs.mask_feats.shape[-2:]
    return postprocess(outputs, image_sizes=[(4 * height, 4 * width)], original_sizes=[(120, 160)])[0]


@pytest.mark.parametrize("count", [1, 300, 1000])
@pytest.mark.parametrize("size", [(64, 96), (200, 334)])
def test_every_candidate_passes_points_nms_and_area_filter(count: int, size: tuple[int, int], config: Config) -> None:
    drawn = DrawnOutputs(config.model, num_candidates=count)
    outputs = drawn.for_size(*size)
    assert drawn.num_candidates == count
    assert outputs.cls_logits.shape == (1, 3872, 80)
    assert outputs.kernels.shape == (1, 3872, 256)
    assert outputs.mask_feats.shape == (1, 256, *size)
    grid = Grid(**config.model.grid)
    levels = [points_nms(level) for level in grid.unflatten(outputs.cls_logits.sigmoid())]
    assert int((grid.flatten(levels) > 0.1).sum()) == count
    if size == (64, 96):
        everything = detect(config.model, outputs, nms_pre=2000, max_per_img=2000, filter_thr=0.0)
        assert len(everything.labels) == count
        shares = everything.masks.float().mean((1, 2))
        assert shares.min() > 0 and shares.max() < 0.5


def test_as_many_as_post_processing_keeps(config: Config) -> None:
    assert len(detect(config.model, DrawnOutputs(config.model, num_candidates=300).for_size(64, 96)).labels) == 100


def test_a_seed_draws_the_same_and_sizes_share_candidates(config: Config) -> None:
    one, other = (DrawnOutputs(config.model, num_candidates=20, seed=3) for _ in range(2))
    for first, second in zip(one.for_size(32, 32), other.for_size(32, 32), strict=True):
        assert torch.equal(first, second)
    assert torch.equal(one.for_size(32, 32).cls_logits, one.for_size(48, 64).cls_logits)
    assert one.for_size(32, 32) is one.for_size(32, 32)


def test_a_single_class_has_room_for_fewer() -> None:
    model = copy.deepcopy(load_config(CONFIG, overrides={"model.num_classes": 1}).model)
    drawn = DrawnOutputs(model, num_candidates=300)
    assert drawn.num_candidates == (20 // 2) ** 2 + 6**2 + 4**2 + 3**2
    assert int((drawn.for_size(32, 32).cls_logits.sigmoid() > 0.1).sum()) == drawn.num_candidates


def test_a_kernel_of_several_pixels_weighs_its_middle() -> None:
    model = load_config(CONFIG, overrides={"model.kernel_size": 3}).model
    drawn = DrawnOutputs(model, num_candidates=5).for_size(32, 32)
    kernels = drawn.kernels.unflatten(2, (-1, 9))
    assert kernels[..., 4].any() and not kernels[..., [0, 1, 2, 3, 5, 6, 7, 8]].any()


def test_too_few_mask_features() -> None:
    model = load_config(CONFIG, overrides={"model.mask_feature.out_channels": 4}).model
    with pytest.raises(ConfigError, match="out_channels 4: drawn outputs need at least 5"):
        DrawnOutputs(model, num_candidates=5)
