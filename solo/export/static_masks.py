"""Masks of cells as a graph of fixed structure; `solo.models.decoders` computes the same for any number of cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo.errors import ExportError
from solo.models.grid import Grid
from solo.models.solo_head import DecoupledSOLOHead, SOLOHead
from solo.models.solov2 import SOLOv2
from solo.models.solov2_head import SOLOv2Head
from solo.ops.dynamic_conv import kernel_size
from solo.structures import DecoupledSOLOOutputs, SOLOOutputs, SOLOv2Outputs


class StaticMasks(nn.Module, ABC):
    """From a network's outputs and cells (B, N) int64 to mask probabilities (B, N, h, w) at stride 4."""

    @abstractmethod
    def forward(self, outputs: Any, cells: Tensor) -> Tensor: ...


def build_static_masks(model: SOLOv2) -> StaticMasks:
    """Build what fits the model's head.

    Raises:
        ExportError: the head is none of SOLOv2, SOLO and Decoupled SOLO.
    """
    head, grid = model.head, model.postprocess.grid
    if isinstance(head, SOLOv2Head):
        return SOLOv2Masks()
    if isinstance(head, SOLOHead):
        return SOLOMasks(grid, head.mask_strides)
    if isinstance(head, DecoupledSOLOHead):
        return DecoupledSOLOMasks(grid)
    raise ExportError(f"a model with a {type(head).__name__} cannot be exported: its masks are not known here")


class SOLOv2Masks(StaticMasks):
    """Mask features convolved with the kernels of the cells: one product for all."""

    def forward(self, outputs: SOLOv2Outputs, cells: Tensor) -> Tensor:
        mask_feats, kernels = outputs.mask_feats, outputs.kernels
        channels, height, width = mask_feats.shape[1:]
        side = kernel_size(kernels.shape[2], channels=channels)
        chosen = select_rows(kernels.flatten(0, 1), flat_rows(cells, kernels.shape[1]))  # (B, N, K)
        logits = chosen @ _neighbourhoods(mask_feats, side).flatten(2)
        return logits.float().sigmoid().unflatten(2, (height, width))


class SOLOMasks(StaticMasks):
    """Learned kernels on the features of the cell's level.

    Levels of one stride are one product, in which the kernels of cells of other levels are zero.
    """

    def __init__(self, grid: Grid, mask_strides: tuple[int, ...]) -> None:
        super().__init__()
        self.firsts = tuple(accumulate(grid.level_sizes, initial=0))
        self.strides = tuple(dict.fromkeys(mask_strides))  # finest first
        self.levels = [[level for level, s in enumerate(mask_strides) if s == stride] for stride in self.strides]

    def forward(self, outputs: SOLOOutputs, cells: Tensor) -> Tensor:
        masks: Tensor | None = None
        for stride, levels in zip(self.strides, self.levels, strict=True):
            found = self._masks_of(levels, outputs, cells)  # (B, N, height, width)
            if stride != self.strides[0]:
                found = F.interpolate(found, scale_factor=stride // self.strides[0], mode="bilinear")
            is_member = cells >= self.firsts[levels[0]]
            masks = found if masks is None else torch.where(is_member[..., None, None], found, masks)
        assert masks is not None
        return masks

    def _masks_of(self, levels: list[int], outputs: SOLOOutputs, cells: Tensor) -> Tensor:
        kernels, biases = [], []
        for level in levels:
            first, last = self.firsts[level], self.firsts[level + 1] - 1
            is_member = ((cells >= first) & (cells <= last)).float()
            row = cells.clamp(first, last) - first
            kernels.append(select_rows(outputs.kernels[level], row) * is_member[..., None])  # (B, N, F)
            biases.append(select_rows(outputs.biases[level], row) * is_member)  # (B, N)
        mask_feats = torch.cat([outputs.mask_feats[level] for level in levels], dim=1)
        logits = torch.cat(kernels, dim=2) @ mask_feats.flatten(2) + torch.stack(biases).sum(dim=0)[..., None]
        return F.interpolate(logits.unflatten(2, mask_feats.shape[2:]), scale_factor=2, mode="bilinear").sigmoid()


class DecoupledSOLOMasks(StaticMasks):
    """Products of the probabilities of a column and of a row.

    All columns and rows are resized, not those of the candidates: there are fewer of them.
    """

    columns: Tensor  # (S,) channel of each cell's column
    rows: Tensor  # (S,)

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        columns, rows = [], []
        for first, side in zip(accumulate(grid.num_grids, initial=0), grid.num_grids, strict=False):
            index = torch.arange(side**2)
            columns.append(first + index % side)
            rows.append(first + index // side)
        self.channels = sum(grid.num_grids)
        self.register_buffer("columns", torch.cat(columns))
        self.register_buffer("rows", torch.cat(rows))

    def forward(self, outputs: DecoupledSOLOOutputs, cells: Tensor) -> Tensor:
        finest = outputs.mask_strides[0]
        products = []
        for levels, index in ((outputs.x_logits, self.columns), (outputs.y_logits, self.rows)):
            maps = [
                level.float().sigmoid()
                if stride == finest
                else F.interpolate(level.float().sigmoid(), scale_factor=stride // finest, mode="bilinear")
                for level, stride in zip(levels, outputs.mask_strides, strict=True)
            ]
            channels = flat_rows(select_rows(index, cells), self.channels)
            products.append(select_rows(torch.cat(maps, dim=1).flatten(0, 1), channels))
        return products[0] * products[1]


def flat_rows(index: Tensor, size: int) -> Tensor:
    """Indices (B, n) into the second axis of (B, size, ...) as indices into its first two axes as one."""
    return index + size * torch.arange(index.shape[0], device=index.device)[:, None]


def select_rows(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]` for (M, ...) and integers (B, n): (B, n, ...), as a plain gather in every format."""
    return table.index_select(0, index.flatten()).unflatten(0, index.shape)


def _neighbourhoods(mask_feats: Tensor, side: int) -> Tensor:
    """(B, E, h, w) to (B, E * side**2, h, w): the features that a kernel reads at each pixel, as in `F.unfold`."""
    if side == 1:
        return mask_feats
    height, width = mask_feats.shape[2:]
    padded = F.pad(mask_feats, [side // 2] * 4)
    shifted = [padded[..., y : y + height, x : x + width] for y in range(side) for x in range(side)]
    return torch.stack(shifted, dim=2).flatten(1, 2)
