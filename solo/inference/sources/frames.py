"""A frame, the parts of a source that give frames, and what is counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """An image that is predicted, and where it comes from.

    Attributes:
        image: (H, W, 3) uint8 BGR; of an image file (H, W, C), if the model takes C channels. Without a pixel,
            (0, 0, 3), if `is_large`.
        index: number in its source from 0 on: of the image among the images, of the frame in its video, or of the frame
            among those that a camera or stream sent.
        time: seconds since the start of the video or of the stream; None for an image file.
        path: the file, the URL without user, password and query, or "camera N".
        name: path of its results without a suffix, relative to a folder of results and unique in a run:
            "photo" for an image file, "clip/000012" for a frame.
    """

    image: npt.NDArray[np.uint8]
    index: int
    time: float | None
    path: str
    name: str

    @property
    def is_large(self) -> bool:
        """Whether this is a file that is never decoded as a whole: the predictor reads `path` by windows."""
        return not self.image.size

    @property
    def sequence(self) -> str | None:
        """Name of the video or stream that the frame belongs to; None for an image file."""
        return None if self.time is None else self.name.rpartition("/")[0]


@dataclass
class SourceReport:
    """What was not predicted.

    Attributes:
        skipped: a message for each file that could not be read, and each frame that could not be predicted.
        passed_over: files in folders that are no images or videos, by suffix.
        corrupt: frames of videos and streams that could not be decoded.
        dropped: frames of cameras and streams that were replaced by a newer one before the model was free.
        reconnects: how often a camera or stream broke and was opened again.
        ended: why a camera or stream ended, if it did.
    """

    skipped: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    corrupt: int = 0
    dropped: int = 0
    reconnects: int = 0
    ended: str = ""


class Part(Protocol):
    """Image files, a video, a camera or a stream.

    Attributes:
        is_live: whether frames are lost that are not taken in time.
        files: files that are read, which no result may replace.
    """

    is_live: bool
    files: Sequence[Path]

    def connect(self) -> None:
        """Find out whether the part can be read.

        Raises:
            DataError: it cannot.
        """

    def length(self) -> int | None:
        """Number of frames, None when it is unknown; after `connect`."""

    def frames(self, report: SourceReport) -> Iterator[Frame]:
        """Read the frames; what cannot be read is counted in the report."""
