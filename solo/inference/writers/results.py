"""All that a prediction writes, as options ask for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from solo.inference.instances import Instances
from solo.inference.sources import Frame, Source
from solo.inference.sources.images import ImageFiles
from solo.inference.writers.files import (
    CocoWriter,
    FolderWriter,
    cut_out_files,
    label_map_files,
    labelme_files,
    yolo_files,
)
from solo.inference.writers.formats import Losses
from solo.inference.writers.interruption import finish_before_signals
from solo.inference.writers.predictions import PredictionWriter
from solo.inference.writers.video import VideoWriter
from solo.inference.writers.window import Window
from solo.output_files import check_outputs, write_output

COCO_FILE, CLASSES_FILE = "coco.json", "classes.txt"


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """What is written beside visualisations and `predictions.json`.

    Attributes:
        txt: `labels/NAME.txt`, YOLO's segmentation labels, and `classes.txt` with the class names.
        masks: `masks/NAME.png`, a label map of 16 bits.
        coco: `coco.json`, a COCO data set.
        labelme: `labelme/NAME.json`.
        crops: `crops/CLASS/NAME_NUMBER.png`, transparent cut-outs.
        video: `NAME.mp4` of each video or stream.
        show: a window.
        polygons: polygons in `coco.json` instead of RLEs.
        simplify: pixels by which polygons may be simplified; 0 follows the pixels exactly.
    """

    txt: bool = False
    masks: bool = False
    coco: bool = False
    labelme: bool = False
    crops: bool = False
    video: bool = False
    show: bool = False
    polygons: bool = False
    simplify: float = 0.0


class _Writer(Protocol):
    def write(self, frame: Frame, instances: Instances) -> None: ...

    def close(self) -> None: ...


class ResultWriter:
    """Writes all results of a prediction; as a context manager it finishes the files, also after an exception."""

    def __init__(
        self,
        folder: str | Path,
        *,
        source: Source,
        classes: Sequence[str],
        options: ResultOptions,
        overwrite: bool = False,
        inputs: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        """Create the folder and check that no other file would be lost.

        Args:
            folder: where the results go; created when missing.
            source: what will be predicted.
            classes: class names.
            options: what is written.
            overwrite: replace files of the results' names that no earlier prediction wrote.
            inputs: files that are read beside the source, which are never replaced.

        Raises:
            DataError: a video is asked for, and PyAV is not installed.
            OutputError: a result would overwrite another file, or cannot be written; a window has no display.
        """
        folder = Path(folder).expanduser()
        read = [*source.files, *inputs]
        images = [file for part in source.parts if isinstance(part, ImageFiles) for file in part.files]
        self._window = Window() if options.show else None
        self._writers: list[_Writer] = [] if self._window is None else [self._window]
        folders = {
            "labels": (options.txt, yolo_files(options.simplify)),
            "masks": (options.masks, label_map_files),
            "labelme": (options.labelme, labelme_files(folder / "labelme", options.simplify)),
            "crops": (options.crops, cut_out_files),
        }
        for title, (is_wanted, encode) in folders.items():
            if is_wanted:
                self._writers.append(
                    FolderWriter(folder / title, encode, title=title, overwrite=overwrite, inputs=read)
                )
        if options.video:
            self._writers.append(VideoWriter(folder, overwrite=overwrite, inputs=read))
        names = source.image_names
        predictions = PredictionWriter(folder, image_names=names, classes=classes, overwrite=overwrite, inputs=read)
        self._writers.insert(0, predictions)
        if options.coco:
            self._writers.append(
                CocoWriter(
                    folder / COCO_FILE,
                    images=images,
                    classes=classes,
                    polygons=options.polygons,
                    tolerance=options.simplify,
                    overwrite=overwrite,
                    inputs=read,
                )
            )
        if options.txt:
            _write_class_names(folder / CLASSES_FILE, classes, overwrite=overwrite, inputs=read)

    @property
    def is_stopped(self) -> bool:
        """Whether the user has closed the window."""
        return self._window is not None and not self._window.is_open

    @property
    def losses(self) -> dict[str, Losses]:
        """What each format could not hold, by the name of its folder or file."""
        writers = [writer for writer in self._writers if isinstance(writer, (FolderWriter, CocoWriter))]
        return {writer.title: +writer.losses for writer in writers if +writer.losses}

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write the results of a frame. Signals wait meanwhile: the json and a video have the same frames.

        Raises:
            OutputError: a file cannot be written.
        """
        with finish_before_signals():
            for writer in self._writers:
                writer.write(frame, instances)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        with finish_before_signals(), contextlib.ExitStack() as stack:
            for writer in self._writers:
                stack.callback(writer.close)


def _write_class_names(
    path: Path, classes: Sequence[str], *, overwrite: bool, inputs: Sequence[str | os.PathLike[str]]
) -> None:
    """One name a line, in the order of the numbers in YOLO's labels."""
    content = "".join(" ".join(name.split()) + "\n" for name in classes).encode()
    if not (path.is_file() and path.read_bytes() == content):
        check_outputs([path], overwrite=overwrite, inputs=inputs)
        write_output(path, content)
