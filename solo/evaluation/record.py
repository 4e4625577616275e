"""The detections of an evaluation on disk: appended batch by batch, read at its end or to resume it.

A record is a line with a fingerprint, then a frame per image: length and CRC-32 of its detections, and the detections.
"""

from __future__ import annotations

import struct
import tempfile
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mmengine.dist import get_rank

from solo.errors import DataError
from solo.evaluation.detections import ImageDetections

FRAME = struct.Struct("<II")


class DetectionRecord:
    """A file of detections; none of them stay in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        """Append to an open file, which is closed with the record."""
        weakref.finalize(self, file.close)
        self._file = file
        self._start = file.tell()

    @classmethod
    def temporary(cls) -> DetectionRecord:
        """A record without a name, in the system's folder for temporary files; it is deleted with the process."""
        return cls(tempfile.TemporaryFile())

    @classmethod
    def named(cls, stem: Path, *, fingerprint: str, resume: bool) -> DetectionRecord:
        """The record `stem` of this process; with `resume` it keeps the images of the one that is there.

        `fingerprint` identifies all that detections depend on; DataError if that of the record to resume is another.
        """
        path = Path(f"{stem}.rank{get_rank()}")
        header = f"solo detections 2 {fingerprint}\n".encode()
        kept = _read_whole_frames(path, header) if resume and path.exists() else b""
        path.parent.mkdir(parents=True, exist_ok=True)
        # A new file: an evaluation that is still writing to the old one keeps that for itself.
        unfinished = Path(f"{path}.new")
        file = unfinished.open("w+b")
        file.write(header)
        record = cls(file)
        file.write(kept)
        file.flush()
        unfinished.replace(path)
        return record

    def append(self, images: Sequence[ImageDetections]) -> None:
        """Write the detections of some images; the operating system keeps them if this process dies."""
        payloads = [image.to_bytes() for image in images]
        self._file.seek(0, 2)
        self._file.write(b"".join(FRAME.pack(len(data), zlib.crc32(data)) + data for data in payloads))
        self._file.flush()

    def frames(self) -> bytes:
        """The frames of all images."""
        self._file.seek(self._start)
        return self._file.read()


def read_frames(frames: bytes) -> list[ImageDetections]:
    """The detections in frames, in the order in which they were written; DataError if they are damaged."""
    payloads, size = whole_frames(frames)
    if size < len(frames):
        raise DataError(f"the record of the detections is damaged, {len(frames) - size} bytes before its end")
    return [ImageDetections.from_bytes(payload) for payload in payloads]


def whole_frames(content: bytes) -> tuple[list[bytes], int]:
    """The payloads of the frames before the first one that is torn or damaged, and the size of these frames."""
    payloads: list[bytes] = []
    stop = 0
    while stop + FRAME.size <= len(content):
        length, checksum = FRAME.unpack_from(content, stop)
        payload = content[stop + FRAME.size : stop + FRAME.size + length]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            break
        payloads.append(payload)
        stop += FRAME.size + length
    return payloads, stop


def _read_whole_frames(path: Path, header: bytes) -> bytes:
    content = path.read_bytes()
    if not header.startswith(content[: len(header)]):
        raise DataError(f"{path}: cannot resume: it is of another checkpoint, config, annotation file or version")
    frames = content[len(header) :]
    payloads, size = whole_frames(frames)
    for number, payload in enumerate(payloads, 1):
        try:
            ImageDetections.from_bytes(payload).check()
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot resume: the detections of image {number} are damaged: {error}") from None
    return frames[:size]
