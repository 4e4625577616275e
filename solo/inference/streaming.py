"""Predict the frames of a source, one after the other or in batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.errors import DataError
from solo.inference.instances import Instances
from solo.inference.sources import Frame, Source, SourceReport

Predict = Callable[..., Any]
"""A `SOLOPredictor`, or what is called as one is."""


def predict_stream(predict: Predict, source: Source, *, batch_size: int = 1) -> Generator[tuple[Frame, Instances]]:
    """Predict the frames of a source in order; frames that cannot be predicted are reported and left out.

    Args:
        predict: takes an array, or a list of them and `batch_size`; with `tiles` the path of a large file too.
        source: its frames are read in a thread meanwhile. It is closed at the end.
        batch_size: frames that go through the model at once.

    Yields:
        The frame, and its instances by descending score.

    Raises:
        ValueError: batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if hasattr(predict, "read_image"):
        by_windows = getattr(predict, "tiles", None) is not None
        source.read_images_with(predict.read_image, by_windows=by_windows)
    frames = source.frames(depth=2 * batch_size)
    try:
        while batch := list(itertools.islice(frames, batch_size)):
            yield from _predict_batch(predict, batch, source.report)
    finally:
        source.close()


def _predict_batch(predict: Predict, batch: Sequence[Frame], report: SourceReport) -> Iterator[tuple[Frame, Instances]]:
    if len(batch) > 1:
        try:
            results = predict([_pixels(frame) for frame in batch], batch_size=len(batch))
        except DataError:
            pass  # one of them: the others are predicted one by one
        else:
            yield from zip(batch, results, strict=True)
            return
    for frame in batch:
        try:
            instances = predict(_pixels(frame))
        except DataError as error:
            where = frame.path if frame.time is None else f"{frame.path}, frame {frame.index}"
            report.skipped.append(str(error) if frame.path in str(error) else f"{where}: {error}")
            continue
        yield frame, instances


def _pixels(frame: Frame) -> npt.NDArray[np.uint8] | Path:
    """What is predicted: the image, or the file that is read by windows."""
    return Path(frame.path) if frame.is_large else frame.image
