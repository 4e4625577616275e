"""What every prediction writes: a visualisation of each image file, and all instances in one COCO file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solo.errors import OutputError
from solo.images.pixels import to_bgr
from solo.inference.instances import Instances
from solo.inference.sources.frames import Frame
from solo.inference.visualization import PNG_MARK, legible_magnification, write_visualization
from solo.inference.writers.coco_spool import CocoSpool
from solo.output_files import check_outputs

PREDICTIONS_FILE = "predictions.json"
DESCRIPTION = "solo: predicted instances"
JSON_MARK = json.dumps(DESCRIPTION).encode()
"""At the start of the json, by which a later prediction recognises that it may replace the file."""


class PredictionWriter:
    """Writes visualisations and `predictions.json` to a folder; as a context manager, also after an exception.

    The json is a COCO annotation file that pycocotools reads as ground truth. `images` have file_name, width and
    height; those of image files also visualization (the name of the PNG, unless the file was read by windows), those of
    videos and streams also frame (its number) and time (seconds). `annotations` are those of `Instances.to_coco` and
    the class name as `category`; `categories` have ids from 1.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        image_names: Sequence[str],
        classes: Sequence[str],
        overwrite: bool = False,
        inputs: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        """Create the folder and check that no other file would be lost.

        Args:
            folder: where the results go; created when missing.
            image_names: names of the visualisations without suffix; see `Frame.name`.
            classes: class names.
            overwrite: replace files of these names. Those that an earlier prediction wrote are always replaced.
            inputs: files that are read, which are never replaced.

        Raises:
            OutputError: the folder cannot be created, or a result would overwrite one of the `inputs` or, without
                `overwrite`, another file.
        """
        self.folder = Path(folder).expanduser()
        self._classes = classes
        make_folder(self.folder)
        drawn = (self.folder / f"{name}.png" for name in image_names)
        check_outputs(drawn, overwrite=overwrite, inputs=inputs, mark=PNG_MARK)
        path = self.folder / PREDICTIONS_FILE
        check_outputs([path], overwrite=overwrite, inputs=inputs, mark=JSON_MARK)
        self._spool = CocoSpool(path, classes=classes, info=dict(description=DESCRIPTION))

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write the visualisation of an image file and keep the instances for the json.

        Args:
            frame: of the source whose names were given at the start.
            instances: all of them are drawn and written.

        Raises:
            OutputError: the visualisation cannot be written.
        """
        height, width = instances.image_size
        image: dict[str, Any] = dict(id=self._spool.num_images + 1, file_name=frame.path)
        if frame.time is not None:
            image.update(frame=frame.index, time=round(frame.time, 6))
        elif not frame.is_large:  # else its visualisation would be as large
            image["visualization"] = f"{frame.name}.png"
            drawn = instances.plot(to_bgr(frame.image), score_thr=0.0, magnify=legible_magnification(height, width))
            write_visualization(self.folder / image["visualization"], drawn)
        annotations = instances.to_coco(image_id=image["id"], first_id=self._spool.num_annotations + 1)
        for annotation, label in zip(annotations, instances.labels.tolist(), strict=True):
            annotation["category"] = self._classes[label]
        self._spool.add(dict(**image, width=width, height=height), annotations)

    def close(self) -> None:
        """Write the json.

        Raises:
            OutputError: it cannot be written.
        """
        self._spool.close()

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def make_folder(folder: Path) -> None:
    """Create a folder of results.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output folder {folder} cannot be created: {error.strerror}") from None
