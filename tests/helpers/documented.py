"""A folder in which the commands of the documentation run in seconds: small data and small stand-ins of the configs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.state_dict import convert_from_ours
from solo.config import load_config
from solo.config.names import list_configs
from solo.datasets import SHAPES_CLASSES
from solo.datasets.coco_classes import COCO_CLASSES
from solo.masks.rle import encode_masks
from solo.registry import MODELS
from tests.helpers.pages import described_configs
from tests.helpers.paths import ROOT
from tests.helpers.tiny_model import tiny_config

HEIGHT, WIDTH, SCALE = 96, 128, (128, 96)
MY_CLASSES = ("cell", "debris", "dust")
DATA_SETS = {
    "data/coco": (COCO_CLASSES, "{split}2017"),
    "datasets/coco": (COCO_CLASSES, "{split}2017"),
    "datasets/coco_mini": (COCO_CLASSES, "{split}2017"),
    "datasets/nuclei256": (("nucleus",), "{split}"),
    "data/my_data": (MY_CLASSES, "{split}"),
}


def write_reader_folder(folder: Path) -> None:
    """The data sets and photos that a reader of the pages has."""
    for name, (classes, split_name) in DATA_SETS.items():
        (folder / name / "annotations").mkdir(parents=True)
        for split, count in (("train", 8), ("val", 2)):
            write_split(folder / name, split_name.format(split=split), classes=classes, count=count)
    photos = sorted((folder / "data/coco/val2017").glob("*.jpg"))
    (folder / "photos").mkdir()
    for number, photo in enumerate(photos):
        (folder / "photos" / f"{number}.jpg").write_bytes(photo.read_bytes())
    (folder / "photo.jpg").write_bytes(photos[0].read_bytes())
    for name in ("a.json", "b.json"):
        write_perfect_results(folder / "data/coco/annotations/instances_val2017.json", folder / name)
    for name, text in described_configs().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def write_split(root: Path, name: str, *, classes: Sequence[str], count: int) -> None:
    """Images with two rectangles each, in COCO's layout."""
    (root / name).mkdir()
    generator = np.random.default_rng(count)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, count + 1):
        pixels = generator.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
        images.append(dict(id=image_id, file_name=f"{image_id:012}.jpg", height=HEIGHT, width=WIDTH))
        for left in (4, 68):
            x, y = left + int(generator.integers(0, 8)), int(generator.integers(0, 30))
            pixels[y : y + 48, x : x + 44] = generator.integers(100, 255, 3)
            corners = [x, y, x + 44, y, x + 44, y + 48, x, y + 48]
            entry = dict(id=len(annotations) + 1, image_id=image_id, category_id=1 + len(annotations) % len(classes))
            annotations.append(dict(entry, iscrowd=0, area=44 * 48, bbox=[x, y, 44, 48], segmentation=[corners]))
        assert cv2.imwrite(str(root / name / images[-1]["file_name"]), pixels)
    categories = [dict(id=number, name=label) for number, label in enumerate(classes, start=1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))


def write_perfect_results(annotations: Path, target: Path) -> None:
    """The objects of an annotation file as detections in COCO's results format."""
    keys = ("image_id", "category_id", "bbox")
    found = json.loads(annotations.read_text())["annotations"]
    masks = [encode_masks(_rectangle(entry["bbox"])[None])[0] for entry in found]
    results = [
        {**{key: entry[key] for key in keys}, "segmentation": mask, "score": 0.9}
        for entry, mask in zip(found, masks, strict=True)
    ]
    target.write_text(json.dumps(results))


def _rectangle(box: Sequence[int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    return mask


def write_small_config(name: str, target: Path) -> None:
    """Write the config of this name or path with a tiny model and small images; no curves, no worker processes."""
    config = load_config(str(ROOT / name) if name.startswith("configs/") else name)
    target.parent.mkdir(parents=True, exist_ok=True)
    config.model = ConfigDict({**tiny_config(), "num_classes": config.model.num_classes})
    for key, value in config.items():
        if key.endswith(("_dataloader", "_pipeline", "tta_pipeline")):
            _set_scales(value)
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        loader.update(num_workers=0, persistent_workers=False, batch_size=min(loader.batch_size, 4))
        loader.pop("prefetch_factor", None)
        if "times" in loader.dataset:
            loader.dataset.times = 1
    config.train_cfg.max_epochs = 1
    # Curves take seconds, and the model has too few channels for the channels-last layout.
    left_out = ("CurvesHook", "NetworkOptionsHook")
    config.custom_hooks = [hook for hook in config.custom_hooks if hook.type not in left_out]
    config.dump(target)


def _set_scales(node: Any) -> None:
    if isinstance(node, dict):
        if "scale" in node:
            node["scale"] = SCALE
        if "scales" in node:
            node["scales"] = [SCALE]
        for value in node.values():
            _set_scales(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _set_scales(value)


def write_random_weights(config: Path, target: Path, *, dialect: str | None = None) -> None:
    """A checkpoint of a config with random weights, under solo's names or those of another implementation."""
    loaded: Config = load_config(str(config))
    init_default_scope("solo")
    torch.manual_seed(0)
    weights = MODELS.build(loaded.model).state_dict()
    if dialect is not None:
        weights = convert_from_ours(weights, dialect=DIALECTS[dialect])[0]
    candidates = (("nucleus",), MY_CLASSES, SHAPES_CLASSES, COCO_CLASSES)
    (classes,) = (names for names in candidates if len(names) == loaded.model.num_classes)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=classes))), target)


def is_config(word: str) -> bool:
    """Whether a word is a config: name or path of one that comes with solo, or a file that a page describes."""
    is_shipped = word in list_configs() or (word.startswith("configs/") and (ROOT / word).is_file())
    return is_shipped or word in described_configs()
