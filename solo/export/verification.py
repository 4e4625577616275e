"""Compare an exported file with the model it was made from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from solo.datasets.shapes.rendering import render_image
from solo.errors import ExportError
from solo.export.graph import ExportedGraph
from solo.images.pixels import BGR, PixelFormat
from solo.images.reading import read_image
from solo.inference.sources.paths import find_images
from solo.masks.resize import resize_masks
from solo.runtime.metadata import ModelMetadata, PostprocessSettings

Image = npt.NDArray[np.uint8]
RunFile = Callable[[npt.NDArray[np.uint8]], tuple[npt.NDArray[Any], ...]]
"""From images (B, 3, H, W) uint8 to the outputs in the order of their names."""

SCORE_TOLERANCE = RAW_TOLERANCE = 1e-4
RAW_RELATIVE_TOLERANCE = 1e-5
"""Of a raw output's largest value, where that is above 10: float32 itself has seven digits, and the kernels of trained
models reach some hundreds."""

NEAR_THRESHOLD = 2e-3
"""Pixels may differ where the probability is this close to the threshold; masks have 8 bits, a step is 4e-3."""

MAX_UNMATCHED = 0.02
"""Share of the detections whose score may differ by more: a mask of few pixels changes its score with each of them, and
rounding moves those that lie on the threshold."""

MIN_AGREEMENT = {"float16": 0.95, "int8": 0.75}
"""Of the model's detections with a score of at least 0.3, the share with an equal label and an IoU of at least 0.75."""

MAX_RELATIVE_ERROR = {"float16": 0.02, "int8": 0.3}
"""Root mean square of the differences of a raw output, over that of the output."""

SURE_SCORE, SAME_MASK_IOU = 0.3, 0.75
DRAWN_SIDE = 256
DRAWN_SHAPES = ((1.0, 1.0), (0.75, 1.0), (1.0, 0.6))
"""Height and width of the drawn images, over `DRAWN_SIDE`."""

MAX_IMAGES = 8


@dataclass
class Differences:
    """What was found; numbers are the largest over all images."""

    images: int = 0
    sizes: list[list[int]] = field(default_factory=list)
    outputs: dict[str, float] = field(default_factory=dict)
    relative_errors: dict[str, float] = field(default_factory=dict)
    largest_values: dict[str, float] = field(default_factory=dict)
    detections: int = 0
    unmatched_detections: int = 0
    score: float = 0.0
    pixels_beyond_rounding: int = 0
    sure_detections: int = 0
    found_again: int = 0
    largest_number_of_candidates: int = 0
    images_with_more_candidates_than_nms_pre: int = 0

    @property
    def agreement(self) -> float:
        """Share of the sure detections that the file has too; 1 without any."""
        return self.found_again / self.sure_detections if self.sure_detections else 1.0


def verify(run: RunFile, graph: ExportedGraph, *, metadata: ModelMetadata, data: Path | None) -> Differences:
    """Run a file and the model on the same images.

    Args:
        run: runs the file.
        graph: of the model as it was trained: float32, norms not folded.
        metadata: of the file.
        data: folder of images; None for drawn shapes.
    """
    found = Differences()
    images = list(load_images(data, limit=MAX_IMAGES, pixels=metadata.pixel_format))
    singles = [[image] for image in images]
    # Images of several sizes share a batch too, where the graph takes it.
    batches = [*singles, images[:2]] if metadata.batch_size is None else singles
    for batch in batches:
        if metadata.batch_size is not None:
            batch = batch * metadata.batch_size
        inputs, sizes = prepare_batch(batch, metadata)
        _compare_batch(run(inputs.numpy()), graph, inputs, sizes, metadata=metadata, found=found)
    return found


def check(found: Differences, *, metadata: ModelMetadata) -> None:
    """Judge what `verify` found.

    Raises:
        ExportError: the file does not agree with the model.
    """
    precision = metadata.precision
    if metadata.contract == "raw":
        problem = _problem_of_outputs(found, precision=precision)
    elif precision == "float32":
        problem = _problem_of_detections(found)
    else:
        limit = MIN_AGREEMENT[precision]
        counts = f"{found.found_again} of {found.sure_detections} detections are the same"
        problem = "" if found.agreement >= limit else f"{counts}, at least {limit:.0%} are expected"
    if problem:
        raise ExportError(f"the exported file does not agree with the model and was removed: {problem}")


def load_images(data: Path | None, *, limit: int, pixels: PixelFormat = BGR) -> Iterator[Image]:
    """The first images of a folder, or drawn ones, whose colours are repeated: (H, W, C) BGR.

    Raises:
        DataError: the folder has none, or one cannot be read.
    """
    if data is None:
        for index, (height, width) in enumerate(DRAWN_SHAPES):
            image, _ = render_image(rng=np.random.default_rng([index]), size=DRAWN_SIDE)
            part = image[: int(height * DRAWN_SIDE), : int(width * DRAWN_SIDE)]
            yield np.ascontiguousarray(part[..., np.arange(pixels.channels) % 3])
        return
    for path in find_images([str(data)])[:limit]:
        yield read_image(path, pixels=pixels)


def prepare_batch(images: Sequence[Image], metadata: ModelMetadata) -> tuple[Tensor, list[tuple[int, int]]]:
    """Resize and pad images as the metadata says: (B, C, H, W) uint8, and their (height, width) without padding."""
    sizes = [metadata.resized_size(*image.shape[:2]) for image in images]
    height, width = metadata.padded_size(sizes)
    batch = np.empty((len(images), metadata.channels, height, width), np.uint8)
    batch[:] = np.array(metadata.pad_value, np.uint8)[:, None, None]
    for row, image, (rows, columns) in zip(batch, images, sizes, strict=True):
        resized = image if image.shape[:2] == (rows, columns) else cv2.resize(image, (columns, rows))
        row[:, :rows, :columns] = metadata.to_network(resized)
    return torch.from_numpy(batch), sizes


@torch.no_grad()
def _compare_batch(
    outputs: tuple[npt.NDArray[Any], ...],
    graph: ExportedGraph,
    inputs: Tensor,
    sizes: list[tuple[int, int]],
    *,
    metadata: ModelMetadata,
    found: Differences,
) -> None:
    expected: Any = graph.model.compute_outputs(graph.normalise(inputs))
    found.images += len(inputs)
    if list(inputs.shape[2:]) not in found.sizes:
        found.sizes.append(list(inputs.shape[2:]))
    if metadata.contract == "raw":
        for name, ours, theirs in zip(metadata.output_names, outputs, expected, strict=True):
            _compare_output(name, torch.from_numpy(ours), theirs, found)
        return
    post = copy.copy(graph.model.postprocess)
    post.largest_component = False  # not in the graph
    counts = (post.cell_scores(expected.cls_logits) > post.score_thr).sum(dim=(1, 2)).tolist()
    found.largest_number_of_candidates = max(found.largest_number_of_candidates, *counts)
    results = post(expected, image_sizes=sizes, original_sizes=sizes)
    for index, (count, size, detections) in enumerate(zip(counts, sizes, results, strict=True)):
        image = [torch.from_numpy(output[index]) for output in outputs]
        is_full = count > post.nms_pre
        found.images_with_more_candidates_than_nms_pre += is_full
        if metadata.precision != "float32":
            _count_agreement(image, detections, size, found, threshold=post.mask_thr)
        elif not is_full:  # else the best candidates are chosen by another score
            _match_detections(image, detections, size, found, settings=metadata.postprocess)


def _compare_output(name: str, ours: Tensor, theirs: Tensor, found: Differences) -> None:
    difference = ours - theirs
    largest, value = float(difference.abs().max()), float(theirs.abs().max())
    relative = float(difference.square().mean().sqrt() / theirs.square().mean().sqrt().clamp(min=1e-12))
    tables = (found.outputs, found.relative_errors, found.largest_values)
    for table, new in zip(tables, (largest, relative, value), strict=True):
        table[name] = new if not new <= table.get(name, -1.0) else table[name]


def _match_detections(
    image: list[Tensor],
    expected: InstanceData,
    size: tuple[int, int],
    found: Differences,
    *,
    settings: PostprocessSettings,
) -> None:
    """Match each detection of the model to one of the file with its label and score, the one with the closest mask.

    Equal scores may come in any order, and what lies within the tolerance of a limit may be on its other side.
    """
    scores, labels, _, masks = image
    count = int((labels >= 0).sum())
    probabilities = masks[:count].float() / 255
    below, above = (
        resize_masks(probabilities, image_size=size, original_size=size, threshold=settings.mask_thr + offset)
        for offset in (-NEAR_THRESHOLD, NEAR_THRESHOLD)
    )
    free = torch.ones(count, dtype=torch.bool)
    lowest = max(settings.filter_thr, float(expected.scores.min()) if len(expected.scores) else 0.0)
    for score, label, mask in zip(expected.scores, expected.labels, expected.masks, strict=True):
        similar = (scores[:count] - score).abs() <= SCORE_TOLERANCE
        rows = (free & (labels[:count] == label) & similar).nonzero()[:, 0]
        if not len(rows):
            found.unmatched_detections += bool(score > lowest + SCORE_TOLERANCE)
            continue
        wrong = ((mask & ~below[rows]) | (~mask & above[rows])).sum(dim=(1, 2))
        best = int(wrong.argmin())
        free[rows[best]] = False
        found.score = max(found.score, float((scores[rows[best]] - score).abs()))
        found.pixels_beyond_rounding += int(wrong[best])
    found.detections += len(expected.scores)
    found.unmatched_detections += int((scores[:count][free] > lowest + SCORE_TOLERANCE).sum())


def _problem_of_outputs(found: Differences, *, precision: str) -> str:
    for name, value in found.largest_values.items():
        if precision == "float32":
            error, limit = found.outputs[name], max(RAW_TOLERANCE, RAW_RELATIVE_TOLERANCE * value)
        else:
            error, limit = found.relative_errors[name], MAX_RELATIVE_ERROR[precision]
        if not error <= limit:  # written so that a NaN fails
            return f"{name} differs by {error:.2g}, at most {limit:.2g} is expected"
    return ""


def _problem_of_detections(found: Differences) -> str:
    if found.unmatched_detections > MAX_UNMATCHED * found.detections:
        return f"{found.unmatched_detections} of {found.detections} detections have no equal with its label and score"
    return f"masks differ in {found.pixels_beyond_rounding} pixels" if found.pixels_beyond_rounding else ""


def _count_agreement(
    image: list[Tensor], expected: InstanceData, size: tuple[int, int], found: Differences, *, threshold: float
) -> None:
    scores, labels, _, masks = image
    count = int((labels >= 0).sum())
    ours = resize_masks(masks[:count].float() / 255, image_size=size, original_size=size, threshold=threshold)
    for score, label, mask in zip(expected.scores, expected.labels, expected.masks, strict=True):
        if score < SURE_SCORE:
            continue
        overlap = (ours & mask).sum(dim=(1, 2)) / (ours | mask).sum(dim=(1, 2)).clamp(min=1)
        is_same = (overlap >= SAME_MASK_IOU) & (labels[:count] == label)
        found.sure_detections += 1
        found.found_again += bool(is_same.any())
        if is_same.any():
            found.score = max(found.score, float((scores[:count][is_same] - score).abs().min()))
    found.detections += len(expected.scores)
