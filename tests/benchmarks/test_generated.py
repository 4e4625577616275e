"""Generated outputs have the number of candidates asked for, and generated results a plausible AP."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from benchmarks.generated import GeneratedOutputs, generate_results
from solo.config import load_config
from solo.datasets import check_coco_file
from solo.errors import ConfigError
from solo.evaluation import CocoMaskMetric
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
    generated = GeneratedOutputs(config.model, num_candidates=count)
    outputs = generated.for_size(*size)
    assert generated.num_candidates == count
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
    assert len(detect(config.model, GeneratedOutputs(config.model, num_candidates=300).for_size(64, 96)).labels) == 100


def test_a_seed_generates_the_same_and_sizes_share_candidates(config: Config) -> None:
    one, other = (GeneratedOutputs(config.model, num_candidates=20, seed=3) for _ in range(2))
    for first, second in zip(one.for_size(32, 32), other.for_size(32, 32), strict=True):
        assert torch.equal(first, second)
    assert torch.equal(one.for_size(32, 32).cls_logits, one.for_size(48, 64).cls_logits)
    assert one.for_size(32, 32) is one.for_size(32, 32)


def test_a_single_class_has_room_for_fewer() -> None:
    model = copy.deepcopy(load_config(CONFIG, overrides={"model.num_classes": 1}).model)
    generated = GeneratedOutputs(model, num_candidates=300)
    assert generated.num_candidates == (20 // 2) ** 2 + 6**2 + 4**2 + 3**2
    assert int((generated.for_size(32, 32).cls_logits.sigmoid() > 0.1).sum()) == generated.num_candidates


def test_a_kernel_of_several_pixels_weighs_its_middle() -> None:
    model = load_config(CONFIG, overrides={"model.kernel_size": 3}).model
    generated = GeneratedOutputs(model, num_candidates=5).for_size(32, 32)
    kernels = generated.kernels.unflatten(2, (-1, 9))
    assert kernels[..., 4].any() and not kernels[..., [0, 1, 2, 3, 5, 6, 7, 8]].any()


def test_too_few_mask_features() -> None:
    model = load_config(CONFIG, overrides={"model.mask_feature.out_channels": 4}).model
    with pytest.raises(ConfigError, match="out_channels 4: generated outputs need at least 5"):
        GeneratedOutputs(model, num_candidates=5)


def test_generated_results(tmp_path: Path) -> None:
    results = generate_results(tmp_path, num_images=40)
    content = json.loads(results.ann_file.read_text())
    report = check_coco_file(results.ann_file)
    assert len(content["images"]) == len(results.samples) == 40
    assert report.used + sum(annotation["iscrowd"] for annotation in content["annotations"]) >= 0.95 * 7 * 40 * 0.8
    detections = [sample["pred_instances"] for sample in results.samples]
    assert 10 * 40 < sum(len(found.labels) for found in detections) < 18 * 40
    assert all(found.scores.diff().max() <= 0 for found in detections if len(found.labels) > 1)
    metric = CocoMaskMetric(ann_file=str(results.ann_file))
    metric.dataset_meta = dict(classes=results.classes)
    metric.process({}, results.samples)
    metrics = metric.evaluate(40)
    assert 0.1 < metrics["coco/segm_mAP"] < metrics["coco/segm_mAP_50"] < 0.9
    assert min(metrics[f"coco/{name}_mAP_{size}"] for name in ("segm", "bbox") for size in "sml") > 0


def test_a_seed_generates_the_same_results(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    files = []
    for folder in folders:
        folder.mkdir()
        files.append(generate_results(folder, num_images=3, seed=5).ann_file.read_bytes())
    assert files[0] == files[1]
