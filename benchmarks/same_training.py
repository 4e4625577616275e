"""One batch for all contenders, and the assertion that they compute the same from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.contenders import Contender
from benchmarks.mmdet_peer import check_targets, given_targets, mmdet_targets, our_names
from benchmarks.pairs import Work
from solo.masks.bitmaps import MASK_STRIDE
from solo.models import SOLOv2
from solo.structures import GridTargets, SOLOv2Outputs

INPUT_TOLERANCE = 1e-5
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 2e-3


class TargetsCase:
    """Samples of the same images as both sides make them, and the targets that both work out of them.

    Args:
        contenders: ours, then mmdet's if there is one.
        indices: of the images of the batch.

    Attributes:
        indices: of the images.
        batches: one a contender, as its loader hands it over.
        prepared: those as `forward` takes them.
        targets: what ours works out of the batch.

    Raises:
        AssertionError: inputs or targets are not the same.
    """

    def __init__(self, contenders: Sequence[Contender], indices: Sequence[int]) -> None:
        self.contenders = list(contenders)
        self.indices = list(indices)
        self.batch_size = len(self.indices)
        self.batches = [contender.batch(self.indices) for contender in contenders]
        self.prepared = [contender.prepared(batch) for contender, batch in zip(contenders, self.batches, strict=True)]
        self._ours = cast(SOLOv2, contenders[0].model)
        height, width = self.prepared[0]["inputs"].shape[-2:]
        self._mask_size = (height // MASK_STRIDE, width // MASK_STRIDE)
        self.targets = self._our_targets()
        if len(self.contenders) > 1:
            self._peer = cast(Any, contenders[1].model)
            self._peer_targets = mmdet_targets(self._peer, self.prepared[1]["data_samples"], self._mask_size)
            _check_close("inputs", *(prepared["inputs"] for prepared in self.prepared), tolerance=INPUT_TOLERANCE)
            check_targets(self.targets, self._peer_targets, self._ours.assigner.grid.level_sizes)

    def assignments(self) -> list[Work]:
        """Working out the targets of the prepared batch, one a contender."""
        peer = [lambda: mmdet_targets(self._peer, self.prepared[1]["data_samples"], self._mask_size)]
        return [self._our_targets, *peer[: len(self.contenders) - 1]]

    def _our_targets(self) -> GridTargets:
        return self._ours.targets(**self.prepared[0])


class TrainingCase(TargetsCase):
    """Ours and, if there is one, mmdet's detector before the same batch, with the outputs of their networks.

    Args:
        contenders: ours, then mmdet's.
        batch_size: images of the batch, spread over the data set.

    Raises:
        AssertionError: the contenders do not compute the same.
    """

    def __init__(self, contenders: Sequence[Contender], batch_size: int) -> None:
        super().__init__(contenders, spread(len(contenders[0].dataset), batch_size))
        with torch.no_grad():
            inputs = self.prepared[0]["inputs"]
            self._features = self._ours.neck(self._ours.backbone(inputs))
            self._outputs: SOLOv2Outputs = self._ours(inputs)
            if len(self.contenders) > 1:
                self._peer_outputs = self._peer.mask_head(self._features)
        if len(self.contenders) > 1:
            self._check()

    def fresh_features(self) -> list[Tensor]:
        """The feature pyramid as leaves that want a gradient."""
        return [level.detach().requires_grad_() for level in self._features]

    def mask_losses(self) -> list[Callable[[], Work]]:
        """Makes, one a contender, forward and backward of the mask loss on fresh leaves ready."""
        return [self._our_mask_loss, self._peer_mask_loss][: len(self.contenders)]

    def _our_mask_loss(self) -> Work:
        leaves = SOLOv2Outputs(*(tensor.detach().requires_grad_() for tensor in self._outputs))

        def work() -> tuple[Tensor, Tensor]:
            loss = self._ours.criterion(leaves, self.targets)["loss_mask"]
            loss.backward()
            return loss.detach(), cast(Tensor, leaves.mask_feats.grad)

        return work

    def _peer_mask_loss(self) -> Work:
        kernels, cls_logits = ([level.detach().requires_grad_() for level in maps] for maps in self._peer_outputs[:2])
        mask_feats = self._peer_outputs[2].detach().requires_grad_()
        instances = [sample.gt_instances for sample in self.prepared[1]["data_samples"]]

        def work() -> tuple[Tensor, Tensor]:
            with given_targets(self._peer, self._peer_targets):
                losses = self._peer.mask_head.loss_by_feat(
                    kernels, cls_logits, mask_feats, instances, [{}] * len(instances)
                )
            losses["loss_mask"].backward()
            return losses["loss_mask"].detach(), mask_feats.grad

        return work

    def _check(self) -> None:
        """Assert that losses and gradients are the same."""
        (loss, gradient), (peer_loss, peer_gradient) = (prepare()() for prepare in self.mask_losses())
        _check_close("mask loss", loss, peer_loss, tolerance=LOSS_TOLERANCE)
        _check_close("gradient of the mask features", gradient, peer_gradient, tolerance=GRADIENT_TOLERANCE)
        gradients: list[dict[str, Tensor]] = []
        losses: list[dict[str, Tensor]] = []
        for contender, prepared in zip(self.contenders, self.prepared, strict=True):
            contender.model.zero_grad()
            losses.append(contender.losses(prepared))
            sum(losses[-1].values(), start=losses[-1]["loss_cls"].new_zeros(())).backward()
            parameters = contender.model.named_parameters()
            gradients.append({name: p.grad for name, p in parameters if p.grad is not None})
            contender.model.zero_grad()
        ours, peers = gradients
        for name, value in losses[0].items():
            _check_close(name, value, losses[1][name], tolerance=LOSS_TOLERANCE)
        for name, our_name in our_names(self._peer).items():
            if name in peers:
                _check_close(f"gradient of {name}", ours[our_name], peers[name], tolerance=GRADIENT_TOLERANCE)


def spread(size: int, count: int) -> list[int]:
    """`count` indices, as far apart as they can be, of a data set with `size` images."""
    return [number * size // count for number in range(count)]


def _check_close(name: str, ours: Tensor, peer: Tensor, *, tolerance: float) -> None:
    ours, peer = ours.detach(), peer.detach()
    difference = (ours - peer).abs().max() / peer.abs().max().clamp(min=1e-12)
    if not difference <= tolerance:
        raise AssertionError(f"{name}: ours and the peer's differ by {float(difference):.1e} of the largest value")
