"""Predict images, videos and streams and write the results: what `solo predict` does."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solo.inference.sources import Source, SourceReport
from solo.inference.streaming import predict_stream
from solo.inference.tracking import Tracker, track
from solo.inference.writers import ResultOptions, ResultWriter


@dataclass
class PredictionSummary:
    """Counts, the seconds that prediction and writing took, and what was not predicted.

    Attributes:
        images: images and frames that were predicted.
        objects: instances that were kept.
        seconds: from the first read to the last written file.
        report: what was skipped.
        undrawn: images without a visualisation, as they were read by windows.
        losses: what each format of the results could not hold, in words, by the name of its folder or file.
    """

    images: int = 0
    objects: int = 0
    seconds: float = 0.0
    undrawn: int = 0
    report: SourceReport = field(default_factory=SourceReport)
    losses: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def unreadable(self) -> list[str]:
        """Messages about files that could not be read and frames that could not be predicted."""
        return self.report.skipped


def predict_files(
    source: Source | Sequence[Path],
    *,
    predictor: Any,
    out_dir: str | Path,
    score_thr: float,
    batch_size: int = 1,
    options: ResultOptions | None = None,
    tracker: Callable[[], Tracker] | None = None,
    overwrite: bool = False,
    inputs: Sequence[str | os.PathLike[str]] = (),
    on_frame: Callable[[PredictionSummary], None] | None = None,
) -> PredictionSummary:
    """Predict a source; write a visualisation of each image file, `predictions.json` and what `options` ask for.

    What cannot be read is skipped and named in the summary. When the prediction is interrupted, the json is written
    with the instances found so far.

    Args:
        source: a source, or image files.
        predictor: a `SOLOPredictor`.
        out_dir: folder of the results; created when missing.
        score_thr: instances with a lower score are neither drawn nor written.
        batch_size: images that go through the model at once.
        options: what else is written; None for nothing.
        tracker: makes a tracker for each video (see `solo.inference.tracking`); None for no identities. Objects with an
            identity are kept whatever their score.
        overwrite: replace files of the results' names that no earlier prediction wrote.
        inputs: other files that were read, such as config and checkpoint.
        on_frame: called with the summary so far after each frame.

    Raises:
        DataError: the only video, camera or stream cannot be opened.
        OutputError: a result cannot be written, or would overwrite an image or input or, without `overwrite`,
            a file that no earlier prediction wrote.
    """
    source = source if isinstance(source, Source) else Source.from_images(source)
    summary = PredictionSummary(report=source.report)
    with source:
        source.connect()
        start = time.perf_counter()
        writer = ResultWriter(
            out_dir,
            source=source,
            classes=predictor.classes,
            options=options or ResultOptions(),
            overwrite=overwrite,
            inputs=inputs,
        )
        with writer, contextlib.closing(predict_stream(predictor, source, batch_size=batch_size)) as results:
            for frame, instances in results if tracker is None else track(results, tracker):
                is_kept = instances.scores >= score_thr
                if instances.ids is not None:
                    is_kept |= instances.ids >= 0
                instances = instances[is_kept]
                writer.write(frame, instances)
                summary.images += 1
                summary.objects += len(instances)
                summary.undrawn += frame.is_large
                if on_frame is not None:
                    on_frame(summary)
                if writer.is_stopped:
                    break
    summary.losses = writer.losses
    summary.seconds = time.perf_counter() - start
    return summary
