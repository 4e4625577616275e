"""Which images are measured: those of the config, of a folder, or drawn for the measurement."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from benchmarks.crowded import write_crowded
from solo.errors import ConfigError

DRAWN = "drawn"
CROWDED = "crowded:"
DRAWN_IMAGES, DRAWN_SIDE, DRAWN_CLASSES = 16, 480, 4

Split = Literal["train", "val"]


def dataset_config(config: Config, *, split: Split, data: str | None, work_dir: str) -> dict[str, Any]:
    """The data set to measure on, with the config's pipeline of that split.

    Args:
        config: the config.
        split: whose loader, pipeline and images.
        data: folder of a COCO data set, "drawn", "crowded:N", or None for the data of the config.
        work_dir: folder where pictures are drawn.

    Raises:
        ConfigError: no such data.
    """
    dataset = inner_dataset(config, split)
    if data is None:
        return dict(dataset)
    options: dict[str, Any] = dict(pipeline=dataset["pipeline"], test_mode=split == "val")
    if data == DRAWN:
        if config.model.num_classes < DRAWN_CLASSES:
            raise ConfigError(f"--data drawn has {DRAWN_CLASSES} classes, the config {config.model.num_classes}")
        sizes = {"num_train": 1, "num_val": 1, f"num_{split}": DRAWN_IMAGES, "image_size": DRAWN_SIDE}
        location = dict(ann_file=f"annotations/instances_{split}.json", data_prefix=dict(img=f"{split}/"))
        return dict(type="Shapes", data_root=os.path.join(work_dir, "drawn"), **sizes, **location, **options)
    ann_file, images = _crowded(data, work_dir) if data.startswith(CROWDED) else _found(data, split)
    return dict(
        type="CocoInstances",
        ann_file=str(ann_file.absolute()),
        data_prefix=dict(img=str(images.absolute())),
        **options,
    )


def inner_dataset(config: Config, split: Split) -> Mapping[str, Any]:
    """The data set of a split below its wrappers.

    Raises:
        ConfigError: the config has no such loader, or its data set no pipeline.
    """
    dataset = (config.get(f"{split}_dataloader") or {}).get("dataset") or {}
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    if "pipeline" not in dataset:
        raise ConfigError(f"config {config.filename}: {split}_dataloader.dataset has no pipeline, which is measured")
    found: Mapping[str, Any] = dataset
    return found


def _crowded(data: str, work_dir: str) -> tuple[Path, Path]:
    number = data.removeprefix(CROWDED)
    if not number.isdecimal() or int(number) == 0:
        raise ConfigError(f"--data {data}: expected {CROWDED}N with N objects an image")
    return write_crowded(Path(work_dir), num_objects=int(number))


def _found(data: str, split: Split) -> tuple[Path, Path]:
    found = sorted(Path(data).glob(f"annotations/instances_{split}*.json"))
    if not found:
        raise ConfigError(f"--data {data}: there is no annotations/instances_{split}*.json")
    return found[0], Path(data) / found[0].stem.removeprefix("instances_")
