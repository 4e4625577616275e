"""Cameras and network streams: read as they send, and opened again when they break."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from solo.errors import DataError
from solo.inference.sources.frames import Frame, SourceReport
from solo.inference.sources.video import decode, open_container, to_image

Image = npt.NDArray[np.uint8]
MAX_RECONNECTS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a connection is tried again; the pause doubles with each failure."""
READ_TIMEOUT = 10.0


class Connection(Protocol):
    """An open camera or stream."""

    def images(self, report: SourceReport) -> Iterator[Image]:
        """Images until the connection breaks."""

    def close(self) -> None:
        """Close the connection."""


class LiveSource:
    """A camera or stream. Broken connections are opened again, up to `max_reconnects` times without a frame between."""

    is_live = True
    files: Sequence[Path] = ()

    def __init__(
        self, location: int | str, *, name: str, shown: str, stride: int = 1, max_reconnects: int | None = None
    ) -> None:
        """Take a camera's index or a URL; it is not opened yet.

        Args:
            location: index or URL.
            name: folder of the results of its frames.
            shown: what messages and results call it.
            stride: only every `stride`-th frame is given.
            max_reconnects: attempts in a row, without a frame between, after which the source has ended; None for 5.
        """
        self.name = name
        self._location = location
        self._shown = shown
        self._stride = stride
        self._max_reconnects = MAX_RECONNECTS if max_reconnects is None else max_reconnects
        self._connection: Connection | None = None
        self._is_closed = threading.Event()

    def connect(self) -> None:
        """Open the camera or stream, and keep it open for `frames`.

        Raises:
            DataError: there is none, or it sends no video.
        """
        if self._connection is None:
            self._connection = self._open()

    def length(self) -> None:
        """Unknown."""

    def close(self) -> None:
        """End the pause between attempts to connect, and attempt no more."""
        self._is_closed.set()

    def frames(self, report: SourceReport) -> Iterator[Frame]:
        """Frames as they arrive, until the source cannot be opened any more; breaks are counted."""
        index, start, failures = 0, time.monotonic(), 0
        while not self._is_closed.is_set():
            try:
                self.connect()
            except DataError as error:
                if failures >= self._max_reconnects:
                    report.ended = str(error)
                    return
            connection, self._connection = self._connection, None
            if connection is not None:
                before = index
                try:
                    for image in connection.images(report):
                        if index % self._stride == 0:
                            name = f"{self.name}/{index:06d}"
                            seconds = time.monotonic() - start
                            yield Frame(image=image, index=index, time=seconds, path=self._shown, name=name)
                        index += 1
                finally:
                    connection.close()
                failures = 0 if index > before else failures
                if failures >= self._max_reconnects:
                    report.ended = f"{self._shown} sends no frame"
                    return
            self._is_closed.wait(min(FIRST_PAUSE * 2**failures, LONGEST_PAUSE))
            failures += 1
            report.reconnects += 1

    def _open(self) -> Connection:
        if isinstance(self._location, int):
            return _Camera(self._location, self._shown)
        return _Stream(self._location, self._shown)


class _Camera:
    """A camera of this computer, read by OpenCV."""

    def __init__(self, index: int, shown: str) -> None:
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            self._capture.release()
            raise DataError(f"{shown} is missing, or another program uses it")

    def images(self, report: SourceReport) -> Iterator[Image]:
        while True:
            is_read, image = self._capture.read()
            if not is_read:
                return
            yield image

    def close(self) -> None:
        self._capture.release()


class _Stream:
    """RTSP, HTTP and other URLs, read by PyAV."""

    def __init__(self, url: str, shown: str) -> None:
        options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
        self._container: Any = open_container(url, shown, options=options, timeout=READ_TIMEOUT)
        self._shown = shown

    def images(self, report: SourceReport) -> Iterator[Image]:
        stream = self._container.streams.video[0]
        for decoded in decode(self._container, stream, report):
            image = to_image(decoded, self._shown, report)
            if image is not None:
                yield image

    def close(self) -> None:
        self._container.close()


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, as it is shown and written."""
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
