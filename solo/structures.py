"""The records that travel between the steps, each shape stated once.

Axis letters, used in every docstring of the package:
B images · S grid cells over all levels (sum of num_grids squared) · C classes · E mask-feature channels ·
K = E * kernel_size**2 dynamic-kernel weights · N objects of an image · P positives of the batch · D detections ·
H, W padded input pixels · h, w = H/4, W/4.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SOLOv2Outputs(NamedTuple):
    """What the network computes for a batch: `model(inputs, mode="tensor")`. Levels are flattened once, finest first.

    Attributes:
        cls_logits: (B, S, C) class logits of every grid cell, before the sigmoid. Cells are row-major in each level.
        kernels: (B, S, K) dynamic-convolution weights that every grid cell predicts.
        mask_feats: (B, E, h, w) unified mask features at stride 4.
    """

    cls_logits: Tensor
    kernels: Tensor
    mask_feats: Tensor


class GroundTruth(NamedTuple):
    """The objects of one image as plain tensors. Coordinates are pixels of the padded network input.

    Attributes:
        labels: (N,) int64 in [0, C).
        boxes: (N, 4) float32, x1 y1 x2 y2.
        centers: (N, 2) float32, x y of the mask's mass centre; NaN for an object without a pixel.
        masks: (N, h', w') bool at stride 4 with h' <= h and w' <= w; what is missing to (h, w) is background.
    """

    labels: Tensor
    boxes: Tensor
    centers: Tensor
    masks: Tensor


class GridTargets(NamedTuple):
    """What every grid cell of a batch should predict. Positives are index vectors; a mask is stored once an object.

    Positives are sorted by image; the assigner may leave some out on crowded images. One cell can be the positive of
    two objects (it then occurs twice); its label is the one of the object that won the cell.

    Attributes:
        labels: (B, S) int64 class of every cell; C is background.
        image_idx: (P,) int64 image of each positive, ascending.
        cell_idx: (P,) int64 cell of each positive in [0, S).
        object_idx: (P,) int64 row of each positive's object in `masks`.
        masks: (sum of N, h, w) bool, masks of all objects of the batch at stride 4.
        num_cells: () int64, the number of (image, cell) pairs with an object's label.
        positives_per_image: B integers that sum to P; on the host, so that splitting by image needs no sync.
    """

    labels: Tensor
    image_idx: Tensor
    cell_idx: Tensor
    object_idx: Tensor
    masks: Tensor
    num_cells: Tensor
    positives_per_image: list[int]


class Candidates(NamedTuple):
    """Detections of one image on their way through post-processing; every field has one row a candidate.

    Attributes:
        scores: (D,) float32.
        labels: (D,) int64 in [0, C).
        cells: (D,) int64 in [0, S).
        rows: (D,) int64 row of the candidate's mask among the masks drawn; candidates of one cell share it.
    """

    scores: Tensor
    labels: Tensor
    cells: Tensor
    rows: Tensor

    def take(self, index: Tensor | slice) -> Candidates:
        """The candidates that `index` selects: a boolean mask (D,), positions (D',) in the wanted order, or a slice."""
        return Candidates(*(field[index] for field in self))
