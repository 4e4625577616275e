"""Videos of the drawn frames, in H.264 as browsers play it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from solo.errors import OutputError
from solo.inference.instances import Instances
from solo.inference.sources.frames import Frame
from solo.inference.sources.video import import_av
from solo.inference.visualization import legible_magnification
from solo.output_files import check_outputs, staged_output

CODEC, SUFFIX = "libx264", ".mp4"
TICKS = 90_000
"""Of the clock of a video, a second."""


class VideoWriter:
    """Writes the frames of each video or stream, with their instances drawn, to `NAME.mp4` in a folder.

    A frame is shown as long as in its source: frames that were left out leave no gap. The file gets its name when the
    video ends, so there is no half of one. Image files are passed over.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False, inputs: Sequence[str | os.PathLike[str]] = ()) -> None:
        """Check that PyAV can encode.

        Args:
            folder: where the videos go.
            overwrite: replace files of their names.
            inputs: files that are read, which are never replaced.

        Raises:
            DataError: PyAV is not installed.
            OutputError: it cannot encode H.264.
        """
        self._av = import_av("--save-video")
        if CODEC not in self._av.codecs_available:
            raise OutputError(f"--save-video: this installation of PyAV cannot encode H.264 ({CODEC})")
        self._folder = folder
        self._overwrite = overwrite
        self._inputs = inputs
        self._sequence: str | None = None
        self._open = contextlib.ExitStack()
        self._encoder: _Encoder | None = None
        self._path = folder

    def write(self, frame: Frame, instances: Instances) -> None:
        """Draw and encode a frame of a video.

        Raises:
            OutputError: the video cannot be written, or would replace another file.
        """
        if frame.sequence is None or frame.time is None:
            return
        if frame.sequence != self._sequence:
            self.close()
            self._begin(frame.sequence)
        magnify = legible_magnification(*instances.image_size)
        drawn = instances.plot(frame.image, score_thr=0.0, magnify=magnify)
        if self._encoder is None:
            self._encoder = self._open.enter_context(_Encoder(self._av, self._target, size=drawn.shape[:2]))
        try:
            self._encoder.write(drawn, time=frame.time)
        except self._av.error.FFmpegError as error:
            raise OutputError(f"video {self._path} cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Finish the video.

        Raises:
            OutputError: it cannot be written.
        """
        self._sequence = self._encoder = None
        try:
            self._open.close()
        except self._av.error.FFmpegError as error:
            raise OutputError(f"video {self._path} cannot be written: {error.strerror}") from None

    def _begin(self, sequence: str) -> None:
        self._sequence = sequence
        self._path = self._folder / f"{sequence}{SUFFIX}"
        check_outputs([self._path], overwrite=self._overwrite, inputs=self._inputs)
        self._target = self._open.enter_context(staged_output(self._path))


class _Encoder:
    """An MP4 file with one H.264 stream, whose index comes first so that a browser plays it while it loads."""

    def __init__(self, av: Any, path: Path, *, size: tuple[int, ...]) -> None:
        self._av = av
        self._size = tuple(side + side % 2 for side in size)  # yuv420p halves both sides
        self._container = av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream(CODEC, rate=30, options={"preset": "veryfast", "crf": "23"})
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._last = -1

    def write(self, image: npt.NDArray[np.uint8], *, time: float) -> None:
        """Encode a (H, W, 3) BGR image that is shown from `time` seconds on."""
        height, width = self._size
        if any(abs(mine - its) > 1 for mine, its in zip(self._size, image.shape, strict=False)):
            image = cv2.resize(image, (width, height))  # a stream that comes back in another size
        below, beside = height - image.shape[0], width - image.shape[1]
        if below > 0 or beside > 0:
            image = cv2.copyMakeBorder(image, 0, max(below, 0), 0, max(beside, 0), cv2.BORDER_REPLICATE)
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="bgr24")
        self._last = max(round(time * TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> _Encoder:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._container:
            self._container.mux(self._stream.encode())
