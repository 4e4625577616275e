"""Image files as a part of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from solo.errors import DataError
from solo.images.reading import read_image
from solo.inference.sources.frames import Frame, SourceReport


class ImageFiles:
    """Image files; those that cannot be read are reported and skipped."""

    is_live = False

    def __init__(self, files: Sequence[Path], *, names: Sequence[str]) -> None:
        """Take the files and the name of the results of each."""
        self.files = files
        self.names = names
        self.read: Callable[[Path], npt.NDArray[np.uint8]] = read_image

    def connect(self) -> None:
        """Nothing is checked: one broken file must not keep the others from being predicted."""

    def length(self) -> int:
        """Number of files."""
        return len(self.files)

    def frames(self, report: SourceReport) -> Iterator[Frame]:
        """Read the files in order."""
        for index, (path, name) in enumerate(zip(self.files, self.names, strict=True)):
            try:
                image = self.read(path)
            except DataError as error:
                report.skipped.append(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            yield Frame(image=image, index=index, time=None, path=str(path), name=name)
