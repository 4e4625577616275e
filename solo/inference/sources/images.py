"""Image files as a part of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from solo.errors import DataError
from solo.images.reading import read_image
from solo.images.windows import is_large_tiff
from solo.inference.sources.frames import Frame, SourceReport


class ImageFiles:
    """Image files; those that cannot be read are reported and skipped.

    Attributes:
        read: reads a file.
        by_windows: whether files that are too large to be decoded as a whole are left to the predictor, see
            `Frame.is_large`; they are skipped otherwise.
    """

    is_live = False

    def __init__(self, files: Sequence[Path], *, names: Sequence[str]) -> None:
        """Take the files and the name of the results of each."""
        self.files = files
        self.names = names
        self.read: Callable[[Path], npt.NDArray[np.uint8]] = read_image
        self.by_windows = False

    def connect(self) -> None:
        """Nothing is checked: one broken file must not keep the others from being predicted."""

    def length(self) -> int:
        """Number of files."""
        return len(self.files)

    def frames(self, report: SourceReport) -> Iterator[Frame]:
        """Read the files in order."""
        for index, (path, name) in enumerate(zip(self.files, self.names, strict=True)):
            try:
                is_large = self.by_windows and is_large_tiff(path)
                image = np.zeros((0, 0, 3), np.uint8) if is_large else self.read(path)
            except DataError as error:
                message = str(error) if str(path) in str(error) else f"{path}: {error}"
                hint = "" if self.by_windows or not is_large_tiff(path) else "; tiles (--tile) are read by windows"
                report.skipped.append(message + hint)
                continue
            yield Frame(image=image, index=index, time=None, path=str(path), name=name)
