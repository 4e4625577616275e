"""A web page of training samples: images after the pipeline, masks, grid cells, and what is dropped and why."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from mmengine.config import Config

from solo.datasets.coco.dataset import CocoInstances
from solo.datasets.insight.base_settings import read_settings
from solo.datasets.insight.input_plan import SIDE_DIVISOR, InputPlan
from solo.datasets.insight.object_losses import KEPT, REASONS, find_losses
from solo.datasets.insight.sized_objects import SizedObjects
from solo.datasets.insight.source import AnnotationSource
from solo.errors import DataError
from solo.masks.mask_windows import unpack_masks
from solo.masks.resize_taps import MASK_STRIDE
from solo.models.assigner import GridAssigner

_TEMPLATE = Path(__file__).with_name("browser_page.html")
_PLACE = "/*DATA*/null"
_BY_LIMIT_ALONE = len(REASONS) - 1


def browse_page(
    source: AnnotationSource, config: Config, *, num_images: int = 24, seed: int = 0, epoch: int = 0
) -> bytes:
    """Make a page of samples that is one file and needs no network.

    Args:
        source: The annotations, whose images have to be there.
        config: A complete config: its training pipeline, grid, assigner and limits.
        num_images: How many images are sampled.
        seed: Of the sample and of the random transforms.
        epoch: Whose random transforms are applied.

    Returns:
        The HTML.

    Raises:
        DataError: The images are not found, or cannot be read.
        ConfigError: A part of the config is missing.
    """
    dataset = _training_dataset(source, config, seed=seed)
    dataset.set_epoch(epoch)
    count = min(num_images, len(dataset))
    indices = np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False)).tolist()
    infos = [dataset.get_data_info(index) for index in indices]
    settings = read_settings(config, [(info["height"], info["width"]) for info in infos])
    assigner = settings.assigner(settings.grid)
    samples = []
    for index, info in zip(indices, infos, strict=True):
        sample = dataset[index]
        described = _describe_sample(sample, assigner=assigner, limits=settings.limits, classes=source.checked.classes)
        num_before = info["instances"].ignore_flags.count(0)
        samples.append({**described, "removed": max(0, num_before - len(described["objects"]))})
    data = {
        "title": f"{source.path.name}: what the training sees",
        "config": Path(str(config.filename)).stem,
        "num_grids": assigner.grid.num_grids,
        "scale_ranges": assigner.grid.scale_ranges,
        "samples": samples,
    }
    # A name in the data may hold "</script>".
    text = json.dumps(data).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return _TEMPLATE.read_text(encoding="utf-8").replace(_PLACE, text).encode()


def _training_dataset(source: AnnotationSource, config: Config, *, seed: int) -> CocoInstances:
    """The images of the source with the training pipeline of the config."""
    if not source.has_images:
        raise DataError(f"annotation file {source.path}: no image is beside it; name their folder with --images")
    node = config.train_dataloader.dataset
    while "pipeline" not in node and "dataset" in node:
        node = node["dataset"]
    return CocoInstances(
        ann_file=str(source.path.resolve()),
        data_prefix={"img": str(source.folder.resolve())},
        filter_cfg=node.get("filter_cfg"),
        pipeline=node["pipeline"],
        seed=seed,
    )


def _describe_sample(
    sample: dict[str, Any], *, assigner: GridAssigner, limits: Any, classes: Sequence[str]
) -> dict[str, Any]:
    """An image as a data URI, its size, and its objects with outlines, cells and what becomes of them."""
    image = sample["inputs"].permute(1, 2, 0).numpy()
    truth = sample["data_samples"].gt_instances
    height, width = image.shape[:2]
    padded = tuple(side + -side % SIDE_DIVISOR for side in (height, width))
    mask_size = padded[0] // MASK_STRIDE, padded[1] // MASK_STRIDE
    masks = unpack_masks([truth.masks], mask_size).numpy()
    objects = SizedObjects(
        boxes=truth.bboxes, centers=truth.centers, areas=masks.sum(axis=(1, 2)), ious=np.ones(len(masks))
    )
    # The size is final: the pipeline has resized and cropped.
    losses = find_losses([((height, width), objects)], plan=InputPlan(scale=None), assigner=assigner, limits=limits)
    is_positive, cells = assigner.match(truth.bboxes, truth.centers, mask_size)
    owners = _owners(is_positive, cells, truth.bboxes, assigner)
    described = []
    for index, label in enumerate(truth.labels.tolist()):
        own = cells[index][is_positive[index]]
        reason = int(losses.reasons[index])
        described.append(
            {
                "class": classes[label],
                "box": np.round(truth.bboxes[index], 1).tolist(),
                "scale": round(float(np.sqrt(np.prod(truth.bboxes[index, 2:] - truth.bboxes[index, :2]))), 1),
                "area": int(objects.areas[index]),
                "outline": _outline(masks[index]),
                "levels": np.flatnonzero(is_positive[index].any(axis=(1, 2))).tolist(),
                "cells": [[*_locate(int(cell), assigner), bool(owners[cell] == index)] for cell in own],
                "lost": "" if reason in (KEPT, _BY_LIMIT_ALONE) else REASONS[reason],
            }
        )
    path = sample["data_samples"].img_path
    return {
        "name": Path(path).name,
        "image": _data_uri(image),
        "size": [width, height],
        "padded": [padded[1], padded[0]],
        "objects": described,
    }


def _owners(
    is_positive: npt.NDArray[np.bool_], cells: npt.NDArray[np.int64], boxes: Any, assigner: GridAssigner
) -> npt.NDArray[np.int64]:
    """(S,) object whose label each cell has; -1 for background."""
    where = is_positive.nonzero()
    claims = assigner.sort_by_priority(np.array([np.zeros_like(where[0]), cells[where], where[0]]), boxes)
    owners = np.full(assigner.grid.num_cells, -1)
    owners[claims[1]] = claims[2]
    return owners


def _locate(cell: int, assigner: GridAssigner) -> tuple[int, int, int]:
    """Level, row and column of a cell."""
    for level, size in enumerate(assigner.grid.level_sizes):
        if cell < size:
            return level, *divmod(cell, assigner.grid.num_grids[level])
        cell -= size
    raise AssertionError("a cell beyond the last level")


def _outline(mask: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Outlines of the parts of a mask at stride 4 as x y x y ... in pixels of the input, along the pixels' edges."""
    enlarged = np.kron(mask.astype(np.uint8), np.ones((MASK_STRIDE, MASK_STRIDE), np.uint8))
    outlines, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [outline.ravel().tolist() for outline in outlines]


def _data_uri(image: npt.NDArray[np.uint8]) -> str:
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
