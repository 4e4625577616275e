"""The detections of an evaluation on disk: appended batch by batch, read at its end or to resume it.

A record is a line with a fingerprint, then a frame per image: length and CRC-32 of its detections, and the detections.
"""

from __future__ import annotations

import contextlib
import secrets
import struct
import tempfile
import time
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mmengine.dist import get_rank

from solo.errors import DataError, OutputError, missing_file_message
from solo.evaluation.detections import ImageDetections

MAGIC = b"solo detections "
FRAME = struct.Struct("<II")
STALE_SECONDS = 3600
"""Age at which an unfinished file is one of a killed process: it takes its final name within a moment."""


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
    def named(cls, stem: Path, *, fingerprint: str, num_classes: int, resume: bool) -> DetectionRecord:
        """The record `stem` of this process; with `resume` it keeps the images of the one that is there.

        `fingerprint` identifies all that detections depend on. DataError if that of the record to resume is another, or
        if what it holds is damaged; OutputError if the file cannot be written, or if one of its name is no record.
        """
        path = Path(f"{stem}.rank{get_rank()}")
        header = MAGIC + f"2 {fingerprint}\n".encode()
        kept = _read_whole_frames(path, header, num_classes=num_classes) if resume and path.exists() else b""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _check_replaceable(path)
            _remove_stale(path)
            # A new file: an evaluation that is still writing to the old one keeps that for itself.
            unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
            with contextlib.ExitStack() as on_failure:
                file = unfinished.open("x+b")
                on_failure.callback(unfinished.unlink, missing_ok=True)
                file.write(header)
                record = cls(file)
                file.write(kept)
                file.flush()
                unfinished.replace(path)
                on_failure.pop_all()
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
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


def _check_replaceable(path: Path) -> None:
    """A file that no evaluation wrote is the user's; an empty or torn record is none to keep."""
    if not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            if MAGIC.startswith(file.read(len(MAGIC))):
                return
    raise OutputError(f"{path} is no evaluation record and would be replaced; move it, or choose another work folder")


def _remove_stale(path: Path) -> None:
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if left.lstat().st_mtime < time.time() - STALE_SECONDS:
                left.unlink()


def _read_whole_frames(path: Path, header: bytes, *, num_classes: int) -> bytes:
    if not path.is_file():
        raise DataError(missing_file_message(path, kind="evaluation record"))
    content = path.read_bytes()
    if not header.startswith(content[: len(header)]):
        raise DataError(f"{path}: cannot resume: it is of another checkpoint, config, annotation file or version")
    frames = content[len(header) :]
    payloads, size = whole_frames(frames)
    for number, payload in enumerate(payloads, 1):
        try:
            ImageDetections.from_bytes(payload).check(num_classes)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot resume: the detections of image {number} are damaged: {error}") from None
    return frames[:size]
