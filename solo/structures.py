"""Records that the steps pass on, each shape stated once.

Axis letters, used in every docstring of the package:
B images · S grid cells over all levels (sum of num_grids squared) · C classes · E mask-feature channels ·
K = E * kernel_size**2 dynamic-kernel weights · N objects of an image · P positives of the batch · D detections ·
H, W padded input pixels · h, w = H/4, W/4.
By level: L levels · G cells along a side · F channels of the mask features · h_l, w_l sides of the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from solo.masks.mask_windows import MaskWindows
from solo.masks.resize_taps import MASK_STRIDE


class SOLOv2Outputs(NamedTuple):
    """Outputs of the network for a batch: `model(inputs, mode="tensor")`. Levels are flattened, finest first.

    Attributes:
        cls_logits: (B, S, C) class logits of every grid cell, before the sigmoid. Cells are row-major in each level.
        kernels: (B, S, K) dynamic-convolution weights that every grid cell predicts.
        mask_feats: (B, E, h, w) unified mask features at stride 4.
    """

    cls_logits: Tensor
    kernels: Tensor
    mask_feats: Tensor


class SOLOOutputs(NamedTuple):
    """Outputs of a SOLO network for a batch. The kernels are parameters: one a cell, for all images.

    The mask of a cell is its level's features convolved (1x1) with its kernel, plus its bias, then doubled bilinearly.
    The reference implementations double the features first, which is the same, as bilinear weights sum to one.

    Attributes:
        cls_logits: (B, S, C) class logits, as in `SOLOv2Outputs`.
        mask_feats: L maps (B, F, h_l, w_l), mask features at the stride of each level.
        kernels: L matrices (G * G, F), a row a cell.
        biases: L vectors (G * G,).
        mask_strides: L integers, input pixels per pixel of the masks of each level.
    """

    cls_logits: Tensor
    mask_feats: tuple[Tensor, ...]
    kernels: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    mask_strides: tuple[int, ...]


class DecoupledSOLOOutputs(NamedTuple):
    """Outputs of a Decoupled SOLO network for a batch.

    The mask of the cell in row i and column j is the product of two probabilities, sigmoid(x_logits[j]) and
    sigmoid(y_logits[i]) of its level.

    Attributes:
        cls_logits: (B, S, C) class logits, as in `SOLOv2Outputs`.
        x_logits: L maps (B, G, h_l, w_l), one channel a column of cells.
        y_logits: L maps (B, G, h_l, w_l), one channel a row of cells.
        mask_strides: L integers, input pixels per pixel of the maps of each level.
    """

    cls_logits: Tensor
    x_logits: tuple[Tensor, ...]
    y_logits: tuple[Tensor, ...]
    mask_strides: tuple[int, ...]


Outputs = SOLOv2Outputs | SOLOOutputs | DecoupledSOLOOutputs


def gt_mask_key(stride: int) -> str:
    """Name of the field of `gt_instances` with the masks at a stride."""
    return "masks" if stride == MASK_STRIDE else f"masks_{stride}"


class GroundTruth(NamedTuple):
    """The objects of one image, as arrays. Coordinates are pixels of the padded network input.

    Attributes:
        labels: (N,) int64 in [0, C).
        boxes: (N, 4) float32, x1 y1 x2 y2.
        centers: (N, 2) float32, x y of the mask's mass centre; NaN for an object without a pixel.
        masks: N masks at stride 4 of a size (h', w') with h' <= h and w' <= w; outside them is background.
        coarse_masks: the same masks by stride, for each further stride of the model's levels.
    """

    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    centers: npt.NDArray[np.float32]
    masks: MaskWindows
    coarse_masks: Mapping[int, MaskWindows] = {}


class GridTargets(NamedTuple):
    """Targets of the grid cells of a batch. Positives are index vectors; a mask is stored once an object.

    Positives are sorted by image, then by level; the assigner may leave some out on crowded images. A cell can be a
    positive of several objects and then occurs several times; the object that won the cell gives its label.

    Attributes:
        labels: (B, S) int64 class of every cell; C is background.
        image_idx: (P,) int64 image of each positive, ascending.
        cell_idx: (P,) int64 cell of each positive in [0, S).
        object_idx: (P,) int64 row of each positive's object in `masks`.
        masks: (sum of N, h, w) bool, masks of all objects of the batch at stride 4.
        num_cells: () int64, the number of (image, cell) pairs with an object's label.
        positives_per_image: B integers that sum to P; on the CPU, so that splitting by image needs no sync.
        positives_per_level: B x L integers that sum to P, likewise; empty where levels do not matter.
        coarse_masks: (sum of N, H/stride, W/stride) bool by stride, the same masks at the levels' other strides.
    """

    labels: Tensor
    image_idx: Tensor
    cell_idx: Tensor
    object_idx: Tensor
    masks: Tensor
    num_cells: Tensor
    positives_per_image: list[int]
    positives_per_level: Sequence[Sequence[int]] = ()
    coarse_masks: Mapping[int, Tensor] = {}


class Candidates(NamedTuple):
    """Candidates for the detections of one image during post-processing.

    Attributes:
        scores: (D,) float32.
        labels: (D,) int64 in [0, C).
        cells: (D,) int64 in [0, S).
        rows: (D,) int64 row of the candidate's mask among the masks decoded; candidates of one cell share it.
    """

    scores: Tensor
    labels: Tensor
    cells: Tensor
    rows: Tensor

    def take(self, index: Tensor | slice) -> Candidates:
        """Select candidates by a boolean mask (D,), by indices (D',) in the wanted order, or by a slice."""
        return Candidates(*(field[index] for field in self))
