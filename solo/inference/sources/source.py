"""What a user names, as one sequence of frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from solo.errors import DataError, printable
from solo.inference.sources.frames import Frame, Part, SourceReport
from solo.inference.sources.images import ImageFiles
from solo.inference.sources.live import LiveSource, without_secrets
from solo.inference.sources.paths import STANDARD_INPUT, VIDEO_SUFFIXES, find_files, is_list, is_video, read_list
from solo.inference.sources.queues import ReadAhead
from solo.inference.sources.video import VideoFile
from solo.output_files import UniqueStems

LIVE_SUFFIXES = {".mjpeg", ".mjpg"}  # of URLs: what network cameras offer without an end
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


class Source:
    """Frames of several parts in order, read in a thread while the model runs. It is iterated over once.

    Of files every frame is given: the thread waits while `depth` frames are waiting. Of a camera or stream the newest
    frame is given: older ones that were not taken are dropped and counted. A context manager closes what is open.

    Attributes:
        parts: image files, videos, cameras and streams.
        image_names: names of the results of the image files, known before they are read.
        files: files that are read, lists of paths included; no result may replace them.
        report: what was not predicted, complete once the iteration has ended.
    """

    def __init__(
        self, parts: Sequence[Part], *, lists: Sequence[Path] = (), report: SourceReport | None = None
    ) -> None:
        """Take the parts, the text files of paths that named them, and a report to go on with."""
        self.parts = parts
        self.image_names = [name for part in parts if isinstance(part, ImageFiles) for name in part.names]
        self.files = [*lists, *(file for part in parts for file in part.files)]
        self.report = report or SourceReport()
        self._reader: ReadAhead[Frame] | None = None

    @classmethod
    def from_images(cls, images: Sequence[Path]) -> Source:
        """A source of image files."""
        stems = UniqueStems()
        return cls([ImageFiles(images, names=[stems.take(path.stem) for path in images])])

    @property
    def is_live(self) -> bool:
        """Whether frames are dropped that are not taken in time."""
        return any(part.is_live for part in self.parts)

    @property
    def has_video(self) -> bool:
        """Whether some frames belong to a video or stream."""
        return any(not isinstance(part, ImageFiles) for part in self.parts)

    def read_images_with(self, read: Callable[[Path], npt.NDArray[np.uint8]], *, by_windows: bool = False) -> None:
        """Set how image files are read.

        Args:
            read: a function such as a model's, which takes other channels and scales deep images.
            by_windows: whether the predictor reads large files by windows; see `ImageFiles`.
        """
        for part in self.parts:
            if isinstance(part, ImageFiles):
                part.read, part.by_windows = read, by_windows

    def connect(self) -> None:
        """Open cameras and streams, and look into the videos.

        Raises:
            DataError: the source has one part, and that cannot be read. One broken part of several is reported in the
                end, as a broken image is.
        """
        for part in self.parts:
            try:
                part.connect()
            except DataError:
                if len(self.parts) == 1:
                    raise

    def length(self) -> int | None:
        """Number of frames, None if a part does not know; after `connect`."""
        lengths = [part.length() for part in self.parts]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    def frames(self, *, depth: int = 2) -> Iterator[Frame]:
        """Iterate over the frames.

        Args:
            depth: decoded frames that wait for the model at most, besides one that is being decoded. Of a camera or
                stream one frame waits.
        """
        newest_only = self.is_live
        self._reader = ReadAhead(self._read(), depth=1 if newest_only else depth, newest_only=newest_only)
        try:
            yield from self._reader
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading."""
        for part in self.parts:
            if isinstance(part, LiveSource):
                part.close()
        if self._reader is not None:
            self._reader.close()
            self.report.dropped = self._reader.dropped

    def _read(self) -> Generator[Frame]:
        for part in self.parts:
            yield from part.frames(self.report)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_source(
    entries: str | int | Path | Sequence[str | int | Path], *, stride: int = 1, max_reconnects: int | None = None
) -> Source:
    """Find out what a user names; nothing is opened yet.

    Args:
        entries: one or several of: image file, video file, folder, glob pattern, text file of paths (*.txt), "-" for
            paths on the standard input, index of a camera, URL of a stream (rtsp://, http://, ...) or of a video file.
        stride: only every `stride`-th frame of videos, cameras and streams is given.
        max_reconnects: attempts in a row to open a broken stream again; None for 5.

    Raises:
        DataError: a file is missing, a pattern matches nothing, a folder holds no image and no video, a list is empty;
            or a camera or stream is named beside something else.
        ValueError: stride is below 1.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    words = [entries] if isinstance(entries, (str, int, Path)) else list(entries)
    live = [word for word in words if _is_live(word)]
    if live and len(words) > 1:
        raise DataError(f"{_shown(live[0])}: a camera or stream does not end, so it has to be the only source")
    if live:
        return Source([_live_part(live[0], stride=stride, max_reconnects=max_reconnects)])
    report = SourceReport()
    found: dict[Path | str, None] = {}
    lists: list[Path] = []
    for word in map(str, words):
        if word == STANDARD_INPUT or is_list(word):
            found.update(dict.fromkeys(read_list(word)))
            lists += [] if word == STANDARD_INPUT else [Path(word).expanduser()]
        elif _URL.match(word):
            found[word] = None
        else:
            found.update(dict.fromkeys(find_files(word, passed_over=report.passed_over)))
    return Source(_parts(list(found), stride=stride), lists=lists, report=report)


def _parts(found: Sequence[Path | str], *, stride: int) -> list[Part]:
    """Images that follow each other are one part."""
    parts: list[Part] = []
    stems, folders = UniqueStems(), UniqueStems()
    images: list[Path] = []
    for item in [*found, None]:
        if isinstance(item, Path) and not is_video(item):
            images.append(item)
            continue
        if images:
            parts.append(ImageFiles(images, names=[stems.take(path.stem) for path in images]))
            images = []
        if item is not None:
            shown = str(item) if isinstance(item, Path) else without_secrets(item)
            name = folders.take(Path(shown).stem)
            parts.append(VideoFile(item, name=name, shown=shown, stride=stride))
    return parts


def _live_part(word: str | int | Path, *, stride: int, max_reconnects: int | None) -> LiveSource:
    text = str(word)
    location = int(text) if text.isdecimal() else text
    host = re.sub(r"[^A-Za-z0-9]+", "_", _shown(word).partition("://")[2] or _shown(word)).strip("_")
    name = UniqueStems().take(host)
    return LiveSource(location, name=name, shown=_shown(word), stride=stride, max_reconnects=max_reconnects)


def _is_live(word: str | int | Path) -> bool:
    """A camera's index, unless a file has that name; or a URL, unless it ends as video files do."""
    if isinstance(word, int):
        return True
    text = str(word)
    if text.isdecimal():
        return not Path(text).exists()
    suffix = Path(without_secrets(text)).suffix.lower()
    return bool(_URL.match(text)) and suffix not in VIDEO_SUFFIXES - LIVE_SUFFIXES


def _shown(word: str | int | Path) -> str:
    text = str(word)
    return f"camera {text}" if text.isdecimal() else printable(without_secrets(text))
