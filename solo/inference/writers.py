"""What a prediction writes: a visualisation of each image, and all instances in one COCO file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solo.errors import OutputError
from solo.inference.instances import Instances, coco_categories
from solo.inference.visualization import PNG_MARK, legible_magnification, visualization_name, write_visualization
from solo.output_files import check_outputs, write_output

PREDICTIONS_FILE = "predictions.json"
DESCRIPTION = "solo: predicted instances"
JSON_MARK = json.dumps(DESCRIPTION).encode()
"""At the start of the json, by which a later prediction recognises that it may replace the file."""


class PredictionWriter:
    """Writes visualisations and `predictions.json` to a folder; as a context manager, also after an exception.

    The json is a COCO annotation file that pycocotools reads as ground truth. `images` have file_name, visualization
    (the name of the PNG), width and height; `annotations` are those of `Instances.to_coco` and the class name as
    `category`; `categories` have ids from 1.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        images: Sequence[Path],
        classes: Sequence[str],
        overwrite: bool = False,
        inputs: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        """Create the folder and check that no other file would be lost.

        Args:
            folder: where the results go; created when missing.
            images: the files that will be predicted. Each gets a visualisation under its own name, with a number
                where several have the same name.
            classes: class names.
            overwrite: replace files of these names. Those that an earlier prediction wrote are always replaced.
            inputs: other files that were read, which are never replaced.

        Raises:
            OutputError: the folder cannot be created, or a result would overwrite one of the images or
                `inputs` or, without `overwrite`, another file.
        """
        self.folder = Path(folder).expanduser()
        self._classes = classes
        self._names: dict[Path, str] = {}
        taken: set[str] = set()
        for path in images:
            self._names[path] = visualization_name(path, taken=taken)
            taken.add(self._names[path])
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"output folder {self.folder} cannot be created: {error.strerror}") from None
        read = [*images, *inputs]
        check_outputs((self.folder / name for name in taken), overwrite=overwrite, inputs=read, mark=PNG_MARK)
        check_outputs([self.folder / PREDICTIONS_FILE], overwrite=overwrite, inputs=read, mark=JSON_MARK)

    def write(self, path: Path, image: np.ndarray, instances: Instances) -> None:
        """Write the visualisation of an image and keep its instances for the json.

        Args:
            path: the image's file, one of those given at the start.
            image: (H, W, 3) uint8 BGR.
            instances: all of them are drawn and written.

        Raises:
            OutputError: the visualisation cannot be written.
        """
        height, width = instances.image_size
        drawn = instances.plot(image, score_thr=0.0, magnify=legible_magnification(height, width))
        write_visualization(self.folder / self._names[path], drawn)
        image_id = len(self._images) + 1
        self._images.append(
            dict(id=image_id, file_name=str(path), visualization=self._names[path], width=width, height=height)
        )
        annotations = instances.to_coco(image_id=image_id, first_id=len(self._annotations) + 1)
        for annotation, label in zip(annotations, instances.labels.tolist(), strict=True):
            annotation["category"] = self._classes[label]
        self._annotations += annotations

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        content = dict(
            info=dict(description=DESCRIPTION),
            images=self._images,
            annotations=self._annotations,
            categories=coco_categories(self._classes),
        )
        write_output(self.folder / PREDICTIONS_FILE, json.dumps(content).encode())
