"""Candidates of one image: masks are decoded in the order of the class scores until the best are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from solo.masks.bitmaps import binarise_masks
from solo.structures import Candidates

STEPS_PER_CHUNK = 8
"""Cells are decoded in steps of `chunk_bytes` divided by this: little is decoded in vain, and memory is less."""

SPARE_MASKS = 1.5
"""Masks without a candidate are dropped once there are this many times more masks than wanted candidates."""

MASKNESS_LIMIT = 1 + 1e-5
"""The largest maskness, with room for the rounding of a mean."""

Decode = Callable[[Tensor], Tensor]
"""From cells (n,) int64 in [0, S) to their (n, h, w) float32 mask probabilities."""


class ScoredCandidates(NamedTuple):
    """The best candidates of an image and the masks that were decoded for them.

    Attributes:
        candidates: by descending score, class score times maskness; ties by cell, then by class.
        masks: (D', h, w) bool, which `candidates.rows` indexes.
        decode: the masks of cells.
        ranks: (S,) int64 position of each decoded cell in the order of decoding.
        held: (cells of a step, h, w) float32 mask probabilities of the first steps.
        suppressed: (D,) scores of the candidates after the suppression, if that ended the decoding.
    """

    candidates: Candidates
    masks: Tensor
    decode: Decode
    ranks: Tensor
    held: list[Tensor]
    suppressed: Tensor | None

    def probabilities(self, cells: Tensor) -> Tensor:
        """(D, h, w) float32 mask probabilities of decoded cells (D,); those that are not held are decoded again."""
        held = [probability for step in self.held for probability in step]
        ranks = self.ranks[cells].tolist()
        missing = [index for index, rank in enumerate(ranks) if rank >= len(held)]
        again = iter(self.decode(cells[missing]) if missing else ())
        maps = [held[rank] if rank < len(held) else next(again) for rank in ranks]
        return torch.stack(maps) if maps else torch.zeros((0, *self.masks.shape[1:]), device=cells.device)


class Suppression(NamedTuple):
    """How detections are made from candidates.

    Attributes:
        suppress: (D, h, w) bool masks by descending score, (D,) labels and (D,) scores to (D,) scores, none larger than
            before. A score may depend on better candidates alone.
        wanted: how many detections, the best, are taken.
    """

    suppress: Callable[[Tensor, Tensor, Tensor], Tensor]
    wanted: int


def select_candidates(
    cell_scores: Tensor,
    decode: Decode,
    *,
    mask_size: tuple[int, int],
    min_areas: Tensor,
    score_thr: float,
    mask_thr: float,
    limit: int,
    chunk_bytes: int,
    suppression: Suppression | None = None,
) -> ScoredCandidates:
    """Select the best candidates. Each cell is decoded once, and only as many cells as that takes.

    Cells are decoded by descending class score. A candidate's score is class score times maskness, at most the class
    score: candidates with scores above the class scores that are left are better than all that follow. `limit` of them
    are the best ones, the same as if every cell had been decoded.

    With `suppression` only the detections are the same, and there may be fewer candidates: suppressed scores of those
    candidates are final too. Once `wanted` of them are above the class scores that are left, no candidate that follows
    can be among the detections, nor any decoded one with a lower score.

    Args:
        cell_scores: (S, C) float32 class scores.
        decode: the masks of cells.
        mask_size: (h, w).
        min_areas: (S,) pixels at stride 4 that the mask of a cell has to exceed.
        score_thr: a cell and class are a candidate if their score is larger; at least 0.
        mask_thr: a pixel belongs to a mask if its probability is larger; at least 0.
        limit: how many candidates are wanted.
        chunk_bytes: bytes of mask probabilities that are held at most.
        suppression: the suppression that follows, if it may end the decoding.
    """
    everything, cells = _by_class_score(cell_scores, score_thr)
    held_cells = max(1, chunk_bytes // (4 * math.prod(mask_size)))
    steps = range(0, len(cells), -(-held_cells // STEPS_PER_CHUNK))
    later_steps = steps.step * torch.arange(1, max(len(steps), 1), device=cells.device)
    borders = [0, *torch.searchsorted(everything.rows, later_steps).tolist(), len(everything.rows)]
    held: list[Tensor] = []
    best = _Best(limit, suppression, mask_size=mask_size, device=cells.device)
    for start, first, stop in zip(steps, borders, borders[1:], strict=False):
        # Cells are sorted by class score: it bounds the scores of all candidates that are left.
        if best.is_final(everything.scores[first:stop].max() * MASKNESS_LIMIT):
            break
        step_cells = cells[start : start + steps.step]
        probabilities = decode(step_cells)  # (n, h, w)
        if start + len(step_cells) <= held_cells:
            held.append(probabilities)
        binary = binarise_masks(probabilities, threshold=mask_thr)
        factors = torch.where(binary.areas > min_areas[step_cells], binary.maskness, -torch.inf)
        new = everything.take(slice(first, stop))
        rows = new.rows - start
        best.add(new._replace(scores=new.scores * factors[rows], rows=rows), binary.masks)
    candidates, masks, suppressed = best.result()
    ranks = torch.zeros(len(cell_scores), dtype=torch.int64, device=cells.device)
    ranks[cells] = torch.arange(len(cells), device=cells.device)
    return ScoredCandidates(candidates, masks, decode, ranks, held, suppressed)


class _Best:
    """The best candidates so far with their masks. Those whose mask is too small have a score of -inf."""

    def __init__(
        self, limit: int, suppression: Suppression | None, *, mask_size: tuple[int, int], device: torch.device
    ) -> None:
        self._limit = limit
        self._suppression = suppression
        self._next_check = min(limit, suppression.wanted) if suppression else limit
        self._suppressed: Tensor | None = None
        self._masks = [torch.zeros((0, *mask_size), dtype=torch.bool, device=device)]
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        self._candidates = Candidates(scores=nothing.float(), labels=nothing, cells=nothing, rows=nothing)

    def add(self, candidates: Candidates, masks: Tensor) -> None:
        """Add candidates whose rows index `masks`."""
        candidates = candidates._replace(rows=candidates.rows + sum(len(part) for part in self._masks))
        self._candidates = Candidates(*map(torch.cat, zip(self._candidates, candidates, strict=True)))
        self._masks.append(masks)
        if len(self._candidates.scores) > self._limit:
            self._prune()

    def is_final(self, bound: Tensor) -> bool:
        """Whether no candidate with at most this score can be among the best, or among the detections."""
        if len(self._candidates.scores) < self._next_check:
            return False
        candidates = _in_order(self._candidates)
        better = candidates.take(slice(int((candidates.scores > bound).sum())))
        if len(better.scores) >= self._limit or len(better.scores) < self._next_check or self._suppression is None:
            return len(better.scores) >= self._limit
        final = self._suppression.suppress(self._joined_masks()[better.rows], better.labels, better.scores)
        missing = self._suppression.wanted - int((final > bound).sum())
        # The time of a suppression grows with the candidates: wait for at least half as many again before the next.
        self._next_check = min(self._limit, len(better.scores) + max(missing, len(better.scores) // 2))
        if missing <= 0:
            self._candidates, self._suppressed = better, final
        return missing <= 0

    def result(self) -> tuple[Candidates, Tensor, Tensor | None]:
        """The best candidates by descending score, the masks (D', h, w), and the suppressed scores if known."""
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
    """All candidates before any mask is decoded, and the cells (n,) that have one, by descending best class score.

    Candidates come in the order of those cells, and `rows` indexes the cells.
    """
    best_of_cell = cell_scores.nan_to_num(nan=0.0).amax(dim=1)  # (S,)
    cells = (best_of_cell > score_thr).nonzero()[:, 0]
    cells = cells[best_of_cell[cells].argsort(descending=True, stable=True)]
    scores = cell_scores[cells]  # (n, C)
    rows, labels = (scores > score_thr).nonzero(as_tuple=True)
    return Candidates(scores=scores[rows, labels], labels=labels, cells=cells[rows], rows=rows), cells


def _in_order(candidates: Candidates) -> Candidates:
    """Sort by descending score; ties by cell, then by class."""
    num_classes = candidates.labels.amax() + 1 if len(candidates.labels) else 1
    candidates = candidates.take((candidates.cells * num_classes + candidates.labels).argsort())
    return candidates.take(candidates.scores.argsort(descending=True, stable=True))
