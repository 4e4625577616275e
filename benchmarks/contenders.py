"""Who is measured: a model that trains, with its own pipeline over the same images."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import is_distributed
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor

from benchmarks.images import dataset_config
from benchmarks.mmdet_peer import build_mmdet, mmdet_pipeline
from benchmarks.pairs import Work
from solo.engine.hooks import NetworkOptionsHook
from solo.registry import DATASETS, HOOKS, MODELS

_ANNOTATION_STEPS = ("LoadAnnotations", "LoadInstances")


@dataclass
class Contender:
    """A model in training with the batches that its own pipeline makes.

    Attributes:
        model: takes the batch through its `data_preprocessor`; has a `backbone` and a `neck`.
        dataset: samples of the whole pipeline.
        image_dataset: samples of the pipeline without annotations.
        dataset_config: what `dataset` was built from.
        optim_wrapper: of the config.
    """

    model: BaseModel
    dataset: Any
    image_dataset: Any
    dataset_config: dict[str, Any]
    optim_wrapper: OptimWrapper

    def batch(self, indices: Sequence[int]) -> dict[str, Any]:
        """The samples at `indices` as a loader hands them over."""
        batch: dict[str, Any] = pseudo_collate([self.dataset[index] for index in indices])
        return batch

    def prepared(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch as `forward` takes it; `batch` is left alone."""
        prepared: dict[str, Any] = self.model.data_preprocessor(copy.deepcopy(batch), training=True)
        return prepared

    def losses(self, prepared: Mapping[str, Any]) -> dict[str, Tensor]:
        """The losses of a prepared batch by name."""
        losses: dict[str, Tensor] = self.model(**prepared, mode="loss")
        return losses

    def training_step(self, batch: Mapping[str, Any]) -> Work:
        """Make a whole step ready: preprocessing, forward, backward, clipping, update."""
        own = copy.deepcopy(batch)
        return lambda: self.model.train_step(own, self.optim_wrapper)


def build_contenders(
    config: Config,
    *,
    data: str | None,
    against: str | None,
    work_dir: str,
    peer_optim_wrapper: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> list[Contender]:
    """Ours and, if asked for, mmdet's with the same weights, normaliser and data; ours with its `NetworkOptionsHook`.

    Batch normalisation over processes becomes that of one process, unless several have been joined.

    Args:
        config: the config; left alone.
        data: folder of a COCO data set, "drawn", "crowded:N", or None for the data of the config.
        against: "mmdet" or None.
        work_dir: folder where pictures are drawn.
        peer_optim_wrapper: that of the peer, None for the same as ours.
        device: where the models are.

    Raises:
        ConfigError: no such data, or a model that mmdet cannot build.
    """
    config = copy.deepcopy(config)
    dataset = dataset_config(config, split="train", data=data, work_dir=work_dir)
    if against:
        config.model.criterion.mask_loss_norm = "cells"
    config.model.backbone.init_cfg = None
    # mmengine tells of every parameter that it initializes.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    torch.manual_seed(0)
    ours = MODELS.build(config.model)
    ours.init_weights()
    models = [(ours, dataset["pipeline"], config.optim_wrapper)]
    if against == "mmdet":
        peer = build_mmdet(config.model, ours.state_dict())
        models.append((peer, mmdet_pipeline(dataset["pipeline"]), peer_optim_wrapper or config.optim_wrapper))
    models = [(_placed(model, device), *others) for model, *others in models]
    _apply_network_options(config, models[0][0])
    return [
        Contender(
            model=model.train(),
            dataset=DATASETS.build({**dataset, "pipeline": pipeline}),
            image_dataset=DATASETS.build({**dataset, "pipeline": _without_annotations(pipeline)}),
            dataset_config={**dataset, "pipeline": pipeline},
            optim_wrapper=build_optim_wrapper(model, copy.deepcopy(optim_wrapper)),
        )
        for model, pipeline, optim_wrapper in models
    ]


def _placed(model: BaseModel, device: str) -> BaseModel:
    if not is_distributed():
        model = revert_sync_batchnorm(model)
    placed: BaseModel = model.to(device)
    return placed


def _apply_network_options(config: Config, model: BaseModel) -> None:
    """What the config's `NetworkOptionsHook`, if it has one, does to the network before a training."""
    for options in config.get("custom_hooks") or []:
        hook = HOOKS.build(options)
        if isinstance(hook, NetworkOptionsHook):
            hook.before_train(SimpleNamespace(model=model))


def _without_annotations(pipeline: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [step for step in pipeline if step["type"].rpartition(".")[2] not in _ANNOTATION_STEPS]
