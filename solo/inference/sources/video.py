"""Video files, decoded by PyAV."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.errors import DataError, printable
from solo.images.reading import MAX_PIXELS
from solo.inference.sources.frames import Frame, SourceReport

_LOCAL = {"protocol_whitelist": "file,crypto,data"}  # a playlist must not fetch from the network
MAX_CORRUPT_IN_A_ROW = 1000
"""After so many packets without a frame the rest of a video is given up."""


class VideoFile:
    """A video file, or one that a web server offers; no frame is lost but those that cannot be decoded."""

    is_live = False

    def __init__(self, location: str | Path, *, name: str, shown: str, stride: int = 1) -> None:
        """Take a video; it is not opened yet.

        Args:
            location: path or URL.
            name: folder of the results of its frames.
            shown: what messages and results call it.
            stride: only every `stride`-th frame is given.
        """
        self.files: Sequence[Path] = [location] if isinstance(location, Path) else []
        self.name = name
        self._location = location
        self._shown = shown
        self._stride = stride
        self._length: int | None = None

    def connect(self) -> None:
        """Open the video, look for frames that can be decoded, and close it.

        Raises:
            DataError: the file is missing, is no video, or its codec is unknown.
        """
        with self._open() as container:
            count = container.streams.video[0].frames
        self._length = -(-count // self._stride) if count > 0 else None

    def length(self) -> int | None:
        """Number of frames that the header of the file promises, None if it is silent."""
        return self._length

    def frames(self, report: SourceReport) -> Iterator[Frame]:
        """Decode the frames in the order of presentation."""
        try:
            container = self._open()
        except DataError as error:
            report.skipped.append(str(error))
            return
        with container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
            for index, decoded in enumerate(decode(container, stream, report)):
                if index % self._stride:
                    continue
                image = to_image(decoded, self._shown, report)
                if image is None:
                    continue
                time = index / rate if decoded.time is None else decoded.time - start
                name = f"{self.name}/{index:06d}"
                yield Frame(image=image, index=index, time=max(time, 0.0), path=self._shown, name=name)

    def _open(self) -> Any:
        location = self._location
        if isinstance(location, Path):
            if not location.is_file():
                raise DataError(f"video {printable(self._shown)} is missing or is not a regular file")
            # Named with its protocol, a file called "http:..." is a file all the same.
            return open_container(f"file:{location}", self._shown, options=_LOCAL)
        return open_container(location, self._shown)


def open_container(url: str, shown: str, *, options: dict[str, str] | None = None, timeout: float = 10.0) -> Any:
    """Open a container whose first video stream can be decoded, as an `av.container.InputContainer`.

    Args:
        url: what FFmpeg opens.
        shown: what the message calls it.
        options: of FFmpeg.
        timeout: seconds to wait for the network, for the connection and for each read.

    Raises:
        DataError: PyAV is not installed; nothing can be opened, or there is no video that can be decoded.
    """
    av = import_av(shown)
    shown = printable(shown)
    try:
        container = av.open(url, options=options or {}, timeout=(timeout, timeout), metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise DataError(f"video {shown} cannot be opened: {error.strerror}") from None
    except (ValueError, UnicodeError) as error:  # a null byte or half a character in the name
        raise DataError(f"video {shown} cannot be opened: {error}") from None
    problem = _problem(container)
    if problem:
        container.close()
        raise DataError(f"video {shown} {problem}")
    return container


def import_av(shown: str) -> Any:
    """PyAV, with its messages on the console turned off.

    Raises:
        DataError: it is not installed.
    """
    try:
        av = importlib.import_module("av")
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise DataError(f"{printable(shown)}: videos need PyAV: pip install 'solov2[video]'") from None
    av.logging.set_level(None)
    return av


def decode(container: Any, stream: Any, report: SourceReport) -> Iterator[Any]:
    """Decode the frames of a stream; what is damaged is counted. Ends where the file or the connection ends."""
    av = importlib.import_module("av")
    damaged = (av.error.InvalidDataError, av.error.PatchWelcomeError)
    packets, bad = container.demux(stream), 0
    while bad < MAX_CORRUPT_IN_A_ROW:
        try:
            packet = next(packets, None)
        except damaged:
            packets = container.demux(stream)  # a generator is over after an exception
            report.corrupt, bad = report.corrupt + 1, bad + 1
            continue
        except av.error.FFmpegError:  # the connection or the disk
            return
        if packet is None:
            return
        try:
            decoded = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            report.corrupt, bad = report.corrupt + 1, bad + 1
            continue
        if decoded:
            bad = 0
        yield from decoded


def to_image(decoded: Any, shown: str, report: SourceReport) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) BGR of a decoded frame, upright; None for one that is damaged or too large, which is counted."""
    if decoded.is_corrupt or decoded.width * decoded.height > MAX_PIXELS:
        report.corrupt += 1
        return None
    image: npt.NDArray[np.uint8] = decoded.to_ndarray(format="bgr24")
    turns = round(decoded.rotation / 90) % 4  # as telephones store what was filmed upright
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _problem(container: Any) -> str:
    if not container.streams.video:
        return "holds no video stream"
    codec = container.streams.video[0].codec_context
    if codec is None:
        return "has a codec that this installation of PyAV cannot decode"
    if codec.width * codec.height > MAX_PIXELS:
        return f"has {codec.width} x {codec.height} pixels, more than {MAX_PIXELS}"
    return ""
