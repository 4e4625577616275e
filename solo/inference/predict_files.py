"""Predict image files: what `solo predict` does."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from solo.errors import DataError
from solo.images.reading import read_image
from solo.inference.predictor import SOLOPredictor
from solo.inference.writers import PredictionWriter

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")


@dataclass
class PredictionSummary:
    """Counts, the seconds that prediction and visualisation took, and messages about files that could not be read."""

    images: int = 0
    objects: int = 0
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)


def find_images(inputs: Sequence[str]) -> list[Path]:
    """List the image files that files, folders and glob patterns name, each once, in this order.

    Folders are not searched recursively; files named directly may have any suffix.

    Raises:
        DataError: an input does not exist, matches nothing, or is a folder without images.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        path = Path(entry).expanduser()
        if path.is_dir():
            matches = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            problem = f"{entry}: the folder holds no image ({', '.join(IMAGE_SUFFIXES)})"
            if any(file.is_dir() for file in path.iterdir()):
                problem += f"; its folders are searched by a quoted pattern: '{path}/**/*.png'"
        elif path.exists():
            matches, problem = [path], ""
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [Path(name) for name in names if not Path(name).is_dir()]
            problem = f"{entry}: no such file or folder, and no file matches it as a pattern"
        if not matches:
            raise DataError(problem)
        found.update(dict.fromkeys(matches))
    return list(found)


def predict_files(
    images: Sequence[Path],
    *,
    predictor: SOLOPredictor,
    out_dir: str | Path,
    score_thr: float,
    overwrite: bool = False,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> PredictionSummary:
    """Predict images one by one; write a visualisation of each and one `predictions.json` (see `PredictionWriter`).

    An image that cannot be read is skipped and named in the summary. When the prediction is interrupted, the json is
    written with the instances found so far.

    Args:
        images: the files.
        predictor: the model.
        out_dir: folder of the results; created when missing.
        score_thr: instances with a lower score are neither drawn nor written.
        overwrite: replace files of the results' names that no earlier prediction wrote.
        inputs: other files that were read, such as config and checkpoint.

    Raises:
        OutputError: a result cannot be written, or would overwrite an image or input or, without `overwrite`,
            a file that no earlier prediction wrote.
    """
    summary = PredictionSummary()
    start = time.perf_counter()
    with PredictionWriter(
        out_dir, images=images, classes=predictor.classes, overwrite=overwrite, inputs=inputs
    ) as writer:
        for path in images:
            try:
                image = read_image(path)
                instances = predictor(image)
            except DataError as error:
                summary.unreadable.append(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            instances = instances[instances.scores >= score_thr]
            writer.write(path, image, instances)
            summary.images += 1
            summary.objects += len(instances)
    summary.seconds = time.perf_counter() - start
    return summary
