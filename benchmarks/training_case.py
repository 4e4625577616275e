"""Both implementations in training: the same weights and batch, and the assertion that they compute the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor

from benchmarks.datasets import dataset_config, spread_indices
from benchmarks.mmdet_reference import (
    build_mmdet,
    check_losses,
    check_targets,
    given_targets,
    mmdet_pipeline,
    mmdet_targets,
    our_names,
)
from benchmarks.timing import Work
from solo.config.overrides import start_from_random_weights
from solo.engine.throughput import apply_network_options, build_training_model, place_model
from solo.masks.resize_taps import MASK_STRIDE
from solo.models import SOLOv2
from solo.registry import DATASETS
from solo.structures import GridTargets, SOLOv2Outputs

INPUT_TOLERANCE = 1e-5
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 2e-3
_ANNOTATION_STEPS = ("LoadAnnotations", "LoadInstances")


@dataclass
class TrainingSetup:
    """A model in training with the batches of its own pipeline.

    Attributes:
        model: takes batches through its `data_preprocessor`; has a `backbone` and a `neck`.
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
        """Collate the samples at `indices` as a loader does."""
        batch: dict[str, Any] = pseudo_collate([self.dataset[index] for index in indices])
        return batch

    def preprocess(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch as `forward` takes it; `batch` is not changed."""
        inputs: dict[str, Any] = self.model.data_preprocessor(copy.deepcopy(batch), training=True)
        return inputs

    def losses(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The losses of a preprocessed batch by name."""
        losses: dict[str, Tensor] = self.model(**inputs, mode="loss")
        return losses

    def training_step(self, batch: Mapping[str, Any]) -> Work:
        """Prepare a whole step: preprocessing, forward, backward, clipping, update."""
        own = copy.deepcopy(batch)
        return lambda: self.model.train_step(own, self.optim_wrapper)


def build_setups(
    config: Config,
    *,
    data: str | None,
    against: str | None,
    work_dir: str,
    reference_optim_wrapper: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> list[TrainingSetup]:
    """Build ours, with the config's `NetworkOptionsHook`, and optionally mmdet's with our weights and normaliser.

    Args:
        config: the config; it is not changed.
        data: folder of a COCO data set, "drawn", "crowded:N", or None for the data of the config.
        against: "mmdet" or None.
        work_dir: folder for generated images.
        reference_optim_wrapper: options of mmdet's optimizer wrapper, None for ours.
        device: where the models are.

    Raises:
        ConfigError: no such data, or a model that mmdet cannot build.
    """
    config = copy.deepcopy(config)
    dataset = dataset_config(config, split="train", data=data, work_dir=work_dir)
    if against == "mmdet":
        check_losses(config.model)
        config.model.criterion.mask_loss_norm = "cells"
    start_from_random_weights(config)
    torch.manual_seed(0)
    ours = build_training_model(config, device=device)
    models = [(ours, dataset["pipeline"], config.optim_wrapper)]
    if against == "mmdet":
        reference = place_model(build_mmdet(config.model, ours.state_dict()), device)
        options = reference_optim_wrapper or config.optim_wrapper
        models.append((reference, mmdet_pipeline(dataset["pipeline"]), options))
    apply_network_options(config, ours)
    return [
        TrainingSetup(
            model=model.train(),
            dataset=DATASETS.build({**dataset, "pipeline": pipeline}),
            image_dataset=DATASETS.build({**dataset, "pipeline": _without_annotations(pipeline)}),
            dataset_config={**dataset, "pipeline": pipeline},
            optim_wrapper=build_optim_wrapper(model, copy.deepcopy(optim_wrapper)),
        )
        for model, pipeline, optim_wrapper in models
    ]


def _without_annotations(pipeline: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [step for step in pipeline if step["type"].rpartition(".")[2] not in _ANNOTATION_STEPS]


class TargetsCase:
    """One batch as both implementations make it, and the targets that both assign to it.

    Args:
        setups: ours, then mmdet's if there is one.
        indices: images of the batch.

    Attributes:
        setups: ours, then mmdet's if there is one.
        indices: images of the batch.
        batches: the batch of each setup as its loader hands it over.
        inputs: those as `forward` takes them.
        targets: our targets.

    Raises:
        AssertionError: inputs or targets differ.
    """

    def __init__(self, setups: Sequence[TrainingSetup], indices: Sequence[int]) -> None:
        self.setups = list(setups)
        self.indices = list(indices)
        self.batch_size = len(self.indices)
        self.batches = [setup.batch(self.indices) for setup in setups]
        self.inputs = [setup.preprocess(batch) for setup, batch in zip(setups, self.batches, strict=True)]
        self._ours = cast(SOLOv2, setups[0].model)
        height, width = self.inputs[0]["inputs"].shape[-2:]
        self._mask_size = (height // MASK_STRIDE, width // MASK_STRIDE)
        self.targets = self._our_targets()
        if len(self.setups) > 1:
            self._reference = cast(Any, setups[1].model)
            self._reference_targets = self._assign_by_reference()
            _check_close("inputs", *(inputs["inputs"] for inputs in self.inputs), tolerance=INPUT_TOLERANCE)
            check_targets(self.targets, self._reference_targets, self._ours.assigner.grid.level_sizes)

    def assignments(self) -> list[Work]:
        """The assignment of targets to the preprocessed batch, for each setup."""
        return [self._our_targets, self._assign_by_reference][: len(self.setups)]

    def _our_targets(self) -> GridTargets:
        return self._ours.targets(**self.inputs[0])

    def _assign_by_reference(self) -> list[Any]:
        return mmdet_targets(self._reference, self.inputs[1]["data_samples"], self._mask_size)


class TrainingCase(TargetsCase):
    """One batch for both implementations, with the outputs of their networks.

    Args:
        setups: ours, then mmdet's if there is one.
        batch_size: images of the batch, spread over the data set.

    Raises:
        AssertionError: the implementations do not compute the same.
    """

    def __init__(self, setups: Sequence[TrainingSetup], batch_size: int) -> None:
        super().__init__(setups, spread_indices(len(setups[0].dataset), batch_size))
        with torch.no_grad():
            images = self.inputs[0]["inputs"]
            self._features = self._ours.neck(self._ours.backbone(images))
            self._outputs: SOLOv2Outputs = self._ours(images)
            if len(self.setups) > 1:
                self._reference_outputs = self._reference.mask_head(self._features)
        if len(self.setups) > 1:
            self._check()

    def fresh_features(self) -> list[Tensor]:
        """The feature pyramid as leaves that require a gradient."""
        return [level.detach().requires_grad_() for level in self._features]

    def mask_losses(self) -> list[Callable[[], Work]]:
        """For each setup a function that prepares forward and backward of the mask loss on fresh leaves."""
        return [self._our_mask_loss, self._reference_mask_loss][: len(self.setups)]

    def _our_mask_loss(self) -> Work:
        leaves = SOLOv2Outputs(*(tensor.detach().requires_grad_() for tensor in self._outputs))

        def work() -> tuple[Tensor, Tensor]:
            loss = self._ours.criterion(leaves, self.targets)["loss_mask"]
            loss.backward()
            return loss.detach(), cast(Tensor, leaves.mask_feats.grad)

        return work

    def _reference_mask_loss(self) -> Work:
        outputs = self._reference_outputs
        kernels, cls_logits = ([level.detach().requires_grad_() for level in maps] for maps in outputs[:2])
        mask_feats = outputs[2].detach().requires_grad_()
        instances = [sample.gt_instances for sample in self.inputs[1]["data_samples"]]

        def work() -> tuple[Tensor, Tensor]:
            with given_targets(self._reference, self._reference_targets):
                losses = self._reference.mask_head.loss_by_feat(
                    kernels, cls_logits, mask_feats, instances, [{}] * len(instances)
                )
            losses["loss_mask"].backward()
            return losses["loss_mask"].detach(), mask_feats.grad

        return work

    def _check(self) -> None:
        """Assert that losses and gradients are equal within the tolerances."""
        (loss, gradient), (expected_loss, expected_gradient) = (prepare()() for prepare in self.mask_losses())
        _check_close("mask loss", loss, expected_loss, tolerance=LOSS_TOLERANCE)
        _check_close("gradient of the mask features", gradient, expected_gradient, tolerance=GRADIENT_TOLERANCE)
        (ours, our_losses), (expected, expected_losses) = map(_gradients, self.setups, self.inputs)
        for name, value in our_losses.items():
            _check_close(name, value, expected_losses[name], tolerance=LOSS_TOLERANCE)
        for name, our_name in our_names(self._reference).items():
            if name in expected:
                _check_close(f"gradient of {name}", ours[our_name], expected[name], tolerance=GRADIENT_TOLERANCE)


def _gradients(setup: TrainingSetup, inputs: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients by parameter, and losses by name."""
    setup.model.zero_grad()
    losses = setup.losses(inputs)
    sum(losses.values(), start=losses["loss_cls"].new_zeros(())).backward()
    found = {name: weight.grad for name, weight in setup.model.named_parameters() if weight.grad is not None}
    setup.model.zero_grad()
    return found, losses


def _check_close(name: str, ours: Tensor, expected: Tensor, *, tolerance: float) -> None:
    ours, expected = ours.detach(), expected.detach()
    difference = (ours - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    if not difference <= tolerance:
        raise AssertionError(f"{name}: differs from mmdet's by {float(difference):.1e} of the largest value")
