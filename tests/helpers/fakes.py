"""A model and a data set that train in milliseconds, for tests of the commands."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import nn
from torch.utils.data import Dataset

from solo.datasets import LoadImage, PackSample
from solo.registry import DATASETS, HOOKS, MODELS

SIDE = 32
CLASSES = ("dark", "bright")


@MODELS.register_module(force=True)
class OneSquareModel(BaseModel):
    """Predicts one square from (4, 4) to (20, 20), of the class with the highest `weight`.

    With `moving` it lies as many pixels further right as the image's id, with a score that falls with the distance. The
    loss of batches with an image in `bad_images` is NaN. `ballast` adds values that make a checkpoint large.
    """

    def __init__(
        self, *, num_classes: int, moving: bool = False, bad_images: tuple[int, ...] = (), ballast: int = 0
    ) -> None:
        super().__init__()
        self.register_buffer("ballast", torch.zeros(ballast))
        self.bad_images = bad_images
        self.num_classes = num_classes
        self.moving = moving
        self.weight = nn.Parameter(torch.zeros(num_classes))

    def forward(self, inputs: Any, data_samples: Sequence[BaseDataElement] = (), mode: str = "tensor") -> Any:
        if mode == "loss":
            labels = torch.from_numpy(np.concatenate([sample.gt_instances.labels for sample in data_samples]))
            is_bad = any(sample.img_id in self.bad_images for sample in data_samples)
            loss = nn.functional.cross_entropy(self.weight.expand(len(labels), -1), labels)
            return {"loss_cls": loss * (float("nan") if is_bad else 1)}
        return [self._predict(sample) for sample in data_samples]

    def _predict(self, sample: BaseDataElement) -> BaseDataElement:
        height, width = sample.ori_shape
        left = 4 + (sample.img_id if self.moving else 0)
        masks = torch.zeros(1, height, width, dtype=torch.bool)
        masks[:, 4:20, left : left + 16] = True
        sample.pred_instances = InstanceData(
            labels=self.weight.argmax(0, keepdim=True),
            scores=self.weight.softmax(0).max(0, keepdim=True).values / (left - 3),
            masks=masks,
            bboxes=torch.tensor([[left, 4.0, left + 16.0, 20.0]]),
        )
        return sample


@HOOKS.register_module(force=True)
class SlowHook(Hook):
    """Slows each step down, so that a test can interfere."""

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.1)

    after_test_iter = after_train_iter


@HOOKS.register_module(force=True)
class RankWeightsHook(Hook):
    """Writes the weights of each process and the number of objects in each of its steps to `rankN.pth`."""

    def __init__(self) -> None:
        self.objects: list[int] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.objects.append(sum(len(sample.gt_instances) for sample in data_batch["data_samples"]))

    def after_train(self, runner: Any) -> None:
        content = dict(
            weights=dict(runner.model.module.named_parameters()),
            objects=self.objects,
            find_unused_parameters=runner.model.find_unused_parameters,
            static_graph=runner.model.static_graph,
        )
        torch.save(content, Path(runner.work_dir) / f"rank{get_rank()}.pth")


@HOOKS.register_module(force=True)
class FullDiskHook(Hook):
    """Limits files to a megabyte from the end of an epoch on, as if the disk were full for checkpoints with ballast."""

    priority = "HIGH"

    def __init__(self, *, epoch: int) -> None:
        self.epoch = epoch

    def after_train_epoch(self, runner: Any) -> None:
        if runner.epoch + 1 == self.epoch:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


@HOOKS.register_module(force=True)
class LargeCheckpointHook(Hook):
    """Adds megabytes to each checkpoint."""

    def __init__(self, *, megabytes: int) -> None:
        self.megabytes = megabytes

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["ballast"] = torch.zeros(self.megabytes * 2**18)


@DATASETS.register_module(force=True)
class SquareImages(Dataset):
    """Images with one square of the class "bright" each."""

    def __init__(self, *, folder: str, unreadable: int = 0, classes: tuple[str, ...] = CLASSES) -> None:
        self.paths = sorted(Path(folder).glob("*.png"))
        self.metainfo = dict(classes=tuple(classes), category_ids=tuple(range(1, len(classes) + 1)))
        self.unreadable = unreadable
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return len(self.paths)

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return dict(img_id=index, img_path=str(self.paths[index]))

    def __getitem__(self, index: int) -> dict[str, Any]:
        packed = PackSample()(LoadImage()(dict(img_path=str(self.paths[index]), img_id=index)))
        packed["data_samples"].gt_instances = InstanceData(labels=np.array([1]))
        return packed


def square_mask() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[4:20, 4:20] = True
    return mask


def write_data(folder: Path, *, count: int = 4) -> Path:
    """Write images and an annotation file, in which the image ids are indices."""
    images, annotations = [], []
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), np.where(square_mask()[..., None], 200, 20).repeat(3, 2).astype("u1"))
        images.append(dict(id=index, file_name=f"{index}.png", height=SIDE, width=SIDE))
        annotations.append(
            dict(
                id=index + 1,
                image_id=index,
                category_id=2,
                iscrowd=0,
                area=256,
                bbox=[4, 4, 16, 16],
                segmentation=[[4, 4, 20, 4, 20, 20, 4, 20]],
            )
        )
    categories = [dict(id=1, name="dark"), dict(id=2, name="bright")]
    path = folder / "annotations.json"
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


CONFIG = """
default_scope = "solo"
custom_imports = dict(imports=["tests.helpers.fakes"], allow_failed_imports=False)
model = dict(type="OneSquareModel", num_classes=2)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="SquareImages", folder={folder!r}),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="SquareImages", folder={folder!r}),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMaskMetric", ann_file={ann_file!r})
test_evaluator = val_evaluator
test_pipeline = [dict(type="LoadImage"), dict(type="PackSample")]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
auto_scale_lr = dict(enable=False, base_batch_size=4)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=1),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [
    dict(type="ClassNamesHook"),
    dict(type="DatasetEpochHook"),
    dict(type="PeakMemoryHook"),
    dict(type="UnreadableImagesHook"),
    dict(type="CurvesHook"),
]
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])
log_processor = dict(type="LogProcessor", window_size=1, by_epoch=True)
randomness = dict(seed=1)
"""


def write_config(folder: Path, *, count: int = 4) -> Path:
    """Write `count` images with annotations, and a config file beside them."""
    data = folder / "data"
    data.mkdir(parents=True)
    ann_file = write_data(data, count=count)
    path = folder / "square.py"
    path.write_text(CONFIG.format(folder=str(data), ann_file=str(ann_file)))
    return path


def write_checkpoint(path: Path, *, num_classes: int = 2, classes: tuple[str, ...] | None = CLASSES) -> Path:
    """Write the weights of a model that predicts "bright"."""
    model = OneSquareModel(num_classes=num_classes)
    model.weight.data[1] = 2.0
    meta = {} if classes is None else dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path
