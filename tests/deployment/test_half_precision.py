"""Detections in half precision are those in float32, on photos and with weights that have learned them.

A network with drawn weights would not do: its scores tie, and rounding decides which of them wins.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from solo.config import load_config
from solo.datasets.coco.subset import write_subset
from solo.deployment import DeploymentOptions
from solo.deployment.packed_convs import packing_is_available
from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.ops.matrix_nms import mask_intersections
from solo.registry import DATASETS, MODELS
from tests.helpers.paths import CONFIGS

CONFIG = CONFIGS / "coco_mini" / "solov2-nano_overfit8.py"
STEPS, SIDE = 60, 256
SCORE_THR, SCORE_MARGIN, MIN_IOU = 0.3, 2e-2, 0.98
WAYS: dict[str, tuple[dict[str, Any], torch.dtype | None]] = {
    "bfloat16 weights": (dict(dtype="bfloat16"), None),
    "bfloat16 packed weights": (
        dict(dtype="bfloat16", fold_norms=True, channels_last=True, pack_weights=packing_is_available()),
        None,
    ),
    "float16 weights": (dict(dtype="float16"), None),
    "bfloat16 autocast": ({}, torch.bfloat16),
    "float16 autocast": ({}, torch.float16),
}


@pytest.fixture(scope="module")
def learned(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, list[Path]]:
    """Config, checkpoint and photos of a small model that was overfitted to these photos."""
    folder = tmp_path_factory.mktemp("learned")
    photos = shared_data / "coco_mini" / "train2017"
    annotations = folder / "annotations.json"
    write_subset(
        shared_data / "coco_mini" / "annotations" / "instances_train2017.json", annotations, num_images=4, min_side=64
    )
    config = load_config(CONFIG)
    for pipeline in (config.train_pipeline, config.test_dataloader.dataset.pipeline):
        next(step for step in pipeline if step.type == "mmdet.Resize").scale = (SIDE, SIDE)
    options = dict(type="CocoInstances", ann_file=str(annotations), data_prefix=dict(img=str(photos)))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("solo"):
        dataset = DATASETS.build({**options, "pipeline": config.train_pipeline})
        model = MODELS.build(config.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=STEPS)
    samples = [dataset[index] for index in range(len(dataset))]
    model.train()
    for _ in range(STEPS):
        batch = model.data_preprocessor(pseudo_collate(samples), True)
        losses = model(**batch, mode="loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        schedule.step()
    checkpoint = folder / "learned.pth"
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dataset.metainfo)), checkpoint)
    return config, checkpoint, [Path(dataset.get_data_info(index)["img_path"]) for index in range(len(dataset))]


def detect(learned: tuple[Any, Path, list[Path]], context: AbstractContextManager[Any], **options: Any) -> Any:
    config, checkpoint, photos = learned
    predictor = SOLOPredictor(config, checkpoint, device="cpu", deployment=DeploymentOptions(**options))
    with context:
        return [predictor(photo) for photo in photos]


def unlike(detections: Instances, others: Instances) -> list[str]:
    """Confident detections without a counterpart of equal label, score and mask; each counterpart is used once."""
    problems = []
    free = np.ones(len(others), bool)
    sure = detections[detections.scores > SCORE_THR + SCORE_MARGIN]
    overlaps = mask_iou(sure, others)
    for row, (score, label) in enumerate(zip(sure.scores, sure.labels, strict=True)):
        near = (overlaps[row] > MIN_IOU) & (others.labels == label) & free
        near &= abs(others.scores - score) < SCORE_MARGIN
        if near.any():
            free[near.argmax()] = False
        else:
            problems.append(f"label {label}, score {score:.3f}: best IoU {overlaps[row].max():.3f}")
    return problems


def mask_iou(some: Instances, others: Instances) -> np.ndarray:
    """(D, D') float32."""
    masks = np.concatenate([some.to_bool(), others.to_bool()])
    common = mask_intersections(torch.from_numpy(masks)).numpy()
    areas = common.diagonal()
    return (common / (areas[:, None] + areas - common).clip(min=1))[: len(some), len(some) :]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_detections_are_those_of_float32(learned: tuple[Any, Path, list[Path]]) -> None:
    expected = detect(learned, nullcontext())
    assert sum((image.scores > 0.5).sum() for image in expected) >= 4
    problems = {}
    for name, (options, autocast) in WAYS.items():
        context = torch.autocast("cpu", autocast) if autocast else nullcontext()
        found = detect(learned, context, **options)
        pairs = [*zip(found, expected, strict=True), *zip(expected, found, strict=True)]
        problems[name] = [problem for pair in pairs for problem in unlike(*pair)]
    assert not any(problems.values()), problems
