"""Candidates of one image: cells drawn in the order of their class scores until no other can be among the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from solo.masks.bitmaps import binarise_masks
from solo.structures import Candidates, CellMasks

STEPS_PER_CHUNK = 8
"""Cells are drawn in steps of this part of `chunk_bytes`."""

CELLS_PER_STEP = 96
"""Most cells of a step where drawing may end early, so that little is drawn in vain."""

SPARE_MASKS = 1.5
"""So many masks for each wanted candidate are kept before those without one are dropped."""

MASKNESS_LIMIT = 1 + 1e-5
"""The largest maskness, with room for the rounding of a mean."""


class DrawnCandidates(NamedTuple):
    """The best candidates of an image and what was drawn for them.

    Attributes:
        candidates: by descending score, class score times maskness; equal ones in the order (cell, class).
        masks: (D', h, w) bool that `rows` points to.
        ranks: (S,) int64 place of each drawn cell in the order of drawing.
        held: (cells of a step, h, w) float32 mask probabilities of the first steps.
        suppressed: (D,) scores of the candidates after the suppression, where that ended the drawing.
    """

    candidates: Candidates
    masks: Tensor
    ranks: Tensor
    held: list[Tensor]
    suppressed: Tensor | None

    def probabilities_of(self, cells: Tensor, *, cell_masks: CellMasks) -> Tensor:
        """(D, h, w) float32 mask probabilities of drawn cells (D,); those that are not held are drawn again."""
        held = [probability for step in self.held for probability in step]
        ranks = self.ranks[cells].tolist()
        missing = [place for place, rank in enumerate(ranks) if rank >= len(held)]
        again = iter(cell_masks.draw(cells[missing]) if missing else ())
        maps = [held[rank] if rank < len(held) else next(again) for rank in ranks]
        return torch.stack(maps) if maps else torch.zeros((0, *cell_masks.size), device=cells.device)


class Suppression(NamedTuple):
    """What turns candidates into detections.

    Attributes:
        suppress: (D, h, w) bool masks by descending score, (D,) labels and (D,) scores to (D,) scores, none larger than
            before. A score may depend on better candidates alone.
        wanted: how many detections are taken, the best.
    """

    suppress: Callable[[Tensor, Tensor, Tensor], Tensor]
    wanted: int


def draw_candidates(
    cell_scores: Tensor,
    cell_masks: CellMasks,
    *,
    min_areas: Tensor,
    score_thr: float,
    mask_thr: float,
    limit: int,
    chunk_bytes: int,
    suppression: Suppression | None = None,
) -> DrawnCandidates:
    """The best candidates, each cell drawn once and only as many cells as that takes.

    A candidate's score is class score times maskness, and a maskness is at most 1. Hence a cell whose best class
    score is below the `limit`-th best score found so far can have no candidate among the best, nor can any cell after
    it: the result is the same as if every cell had been drawn.

    With `suppression` only the detections are the same, and there may be fewer candidates. A candidate whose score
    is above the class scores that are left is better than all that come, so its suppressed score is final. When
    `wanted` of those are above the class scores that are left, no candidate that comes can be among the detections,
    nor any drawn one with a lower score.

    Args:
        cell_scores: (S, C) float32 class scores.
        cell_masks: draws the masks of cells.
        min_areas: (S,) pixels at stride 4 that the mask of a cell has to exceed.
        score_thr: a cell's class is a candidate if its score is larger; at least 0.
        mask_thr: a pixel belongs to a mask if its probability is larger; at least 0.
        limit: how many candidates are wanted.
        chunk_bytes: most bytes of mask probabilities that are held.
        suppression: what follows, if it may end the drawing.
    """
    everything, cells = _by_class_score(cell_scores, score_thr)
    held_cells = max(1, chunk_bytes // (4 * math.prod(cell_masks.size)))
    step = -(-held_cells // STEPS_PER_CHUNK)
    steps = range(0, len(cells), min(step, CELLS_PER_STEP) if suppression else step)
    later_steps = steps.step * torch.arange(1, max(len(steps), 1), device=cells.device)
    borders = [0, *torch.searchsorted(everything.rows, later_steps).tolist(), len(everything.rows)]
    held: list[Tensor] = []
    best = _Best(limit, suppression, size=cell_masks.size, device=cells.device)
    for start, first, stop in zip(steps, borders, borders[1:], strict=False):
        # Cells come by falling class score: what follows has no higher one than this step.
        class_score = everything.scores[first:stop].max()
        if best.is_final(class_score) or best.has_detections(class_score):
            break
        step_cells = cells[start : start + steps.step]
        probabilities = cell_masks.draw(step_cells)
        if start + len(step_cells) <= held_cells:
            held.append(probabilities)
        drawn = binarise_masks(probabilities, threshold=mask_thr)
        factors = torch.where(drawn.areas > min_areas[step_cells], drawn.maskness, -torch.inf)
        new = Candidates(*(field[first:stop] for field in everything))
        rows = new.rows - start
        best.add(new._replace(scores=new.scores * factors[rows], rows=rows), drawn.masks)
    candidates, masks, suppressed = best.result()
    ranks = torch.zeros(len(cell_scores), dtype=torch.int64, device=cells.device)
    ranks[cells] = torch.arange(len(cells), device=cells.device)
    return DrawnCandidates(candidates, masks, ranks, held, suppressed)


class _Best:
    """The best candidates so far with their masks; a score of -inf marks those whose mask is too small."""

    def __init__(
        self, limit: int, suppression: Suppression | None, *, size: tuple[int, int], device: torch.device
    ) -> None:
        self._limit = limit
        self._suppression = suppression
        self._worth_a_look = suppression.wanted if suppression else 0
        self._suppressed: Tensor | None = None
        self._masks = [torch.zeros((0, *size), dtype=torch.bool, device=device)]
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        self._candidates = Candidates(scores=nothing.float(), labels=nothing, cells=nothing, rows=nothing)

    def add(self, candidates: Candidates, masks: Tensor) -> None:
        """Take some more in; their rows count within `masks`."""
        candidates = candidates._replace(rows=candidates.rows + sum(len(part) for part in self._masks))
        self._candidates = Candidates(*map(torch.cat, zip(self._candidates, candidates, strict=True)))
        self._masks.append(masks)
        if len(self._candidates.scores) > self._limit:
            self._prune()

    def is_final(self, class_score: Tensor) -> bool:
        """Whether no candidate with this class score or a lower one can be among the best."""
        if len(self._candidates.scores) < self._limit or self._limit == 0:
            return self._limit == 0
        return bool(class_score * MASKNESS_LIMIT < self._candidates.scores.min())

    def has_detections(self, class_score: Tensor) -> bool:
        """Whether no candidate with this class score or a lower one can be among the detections."""
        if self._suppression is None or len(self._candidates.scores) < self._worth_a_look:
            return False
        bound = class_score * MASKNESS_LIMIT
        candidates = _in_order(self._candidates)
        better = candidates.take(slice(int((candidates.scores > bound).sum())))
        if len(better.scores) < self._worth_a_look:
            return False
        final = self._suppression.suppress(self._joined_masks()[better.rows], better.labels, better.scores)
        missing = self._suppression.wanted - int((final > bound).sum())
        # Looks cost more the more there are: at least half as many again before the next one.
        self._worth_a_look = len(better.scores) + max(missing, len(better.scores) // 2)
        if missing <= 0:
            self._candidates, self._suppressed = better, final
        return missing <= 0

    def result(self) -> tuple[Candidates, Tensor, Tensor | None]:
        """The best candidates in their order, the masks (D', h, w) their rows point to, and their suppressed scores."""
        candidates = _in_order(self._candidates)
        candidates = candidates.take((candidates.scores > -torch.inf).nonzero()[:, 0])
        return candidates, self._joined_masks(), self._suppressed

    def _joined_masks(self) -> Tensor:
        """All masks in one tensor, of which there is then no other copy."""
        if len(self._masks) > 1:
            self._masks = [torch.cat(self._masks)]
        return self._masks[0]

    def _prune(self) -> None:
        self._candidates = _in_order(self._candidates).take(slice(self._limit))
        if sum(len(part) for part in self._masks) > SPARE_MASKS * self._limit:
            used, rows = self._candidates.rows.unique(return_inverse=True)
            self._candidates = self._candidates._replace(rows=rows)
            self._masks = [self._joined_masks()[used]]


def _by_class_score(cell_scores: Tensor, score_thr: float) -> tuple[Candidates, Tensor]:
    """All candidates before anything is drawn, and the cells (n,) that have one, by descending best class score.

    Candidates come in the order of those cells, and `rows` counts the cells in it.
    """
    best_of_cell = cell_scores.nan_to_num(nan=0.0).amax(dim=1)
    cells = (best_of_cell > score_thr).nonzero()[:, 0]
    cells = cells[best_of_cell[cells].argsort(descending=True, stable=True)]
    scores = cell_scores[cells]
    rows, labels = (scores > score_thr).nonzero(as_tuple=True)
    return Candidates(scores=scores[rows, labels], labels=labels, cells=cells[rows], rows=rows), cells


def _in_order(candidates: Candidates) -> Candidates:
    """By descending score; equal ones by cell, then by class."""
    num_classes = candidates.labels.amax() + 1 if len(candidates.labels) else 1
    candidates = candidates.take((candidates.cells * num_classes + candidates.labels).argsort())
    return candidates.take(candidates.scores.argsort(descending=True, stable=True))
