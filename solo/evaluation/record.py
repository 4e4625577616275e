"""The detections of an evaluation on disk: appended as they come, read at its end, or to go on after a crash.

A record is a line of magic, then frames: the length and the CRC-32 of what follows, each 4 bytes, the lowest first. The
first frame is the fingerprint of the evaluation as JSON, each other one the detections of an image. Several processes
write a record each, `<stem>.rank0`, `<stem>.rank1`, ...
"""

from __future__ import annotations

import json
import logging
import re
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mmengine.dist import get_dist_info
from mmengine.logging import print_log

from solo.errors import DataError
from solo.evaluation.detections import ImageDetections

MAGIC = b"solo detections 1\n"
FRAME = struct.Struct("<II")
MAX_NAMED = 5
ABSENT = "absent"


class DetectionRecord:
    """A file of detections; nothing of it stays in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        """Take over an open file that ends with a whole frame; it is closed with the record."""
        weakref.finalize(self, file.close)
        self._file = file
        self._start = file.tell()

    @classmethod
    def temporary(cls) -> DetectionRecord:
        """One without a name, in the system's folder for temporary files; it goes with the process."""
        return cls(tempfile.TemporaryFile())

    @classmethod
    def named(cls, stem: Path, *, fingerprint: Mapping[str, Any], resume: bool) -> DetectionRecord:
        """The record of this process in an evaluation.

        Records that more processes than now have left are merged into the present ones; without `resume` all go. A torn
        end, as a crash leaves it, is cut off and logged.

        Args:
            stem: path without the rank; its folder is made.
            fingerprint: what makes the detections what they are, values by name, as JSON keeps them.
            resume: go on with what is there.

        Raises:
            DataError: a record that is there is of another evaluation, or is none.
        """
        rank, world_size = get_dist_info()
        stem.parent.mkdir(parents=True, exist_ok=True)
        own = Path(f"{stem}.rank{rank}")
        mine = [path for number, path in sorted(_records(stem).items()) if number % world_size == rank]
        kept = [_frames_of_images(path, fingerprint) for path in mine] if resume else []
        # A new file: an evaluation that still writes to the old one keeps that for itself.
        unfinished = Path(f"{own}.new")
        file = unfinished.open("w+b")
        record = cls(file)
        file.write(MAGIC + _frame(json.dumps(dict(fingerprint)).encode("utf-8")))
        record._start = file.tell()
        file.writelines(kept)
        file.flush()
        unfinished.replace(own)
        for path in mine:
            if path != own:
                path.unlink()
        return record

    def append(self, images: Sequence[ImageDetections]) -> None:
        """Hand the detections of some images to the operating system, which keeps them if this process dies."""
        self._file.seek(0, 2)
        self._file.write(b"".join(_frame(image.to_bytes()) for image in images))
        self._file.flush()

    def frames(self) -> bytes:
        """The frames of all images, as they stand in the file."""
        self._file.seek(self._start)
        return self._file.read()


def read_frames(frames: bytes) -> Iterator[ImageDetections]:
    """The detections in the frames of images, in the order in which they were written.

    Raises:
        DataError: the frames are damaged.
    """
    stop = 0
    for start, stop in _whole_frames(frames, 0):
        yield ImageDetections.from_bytes(frames[start:stop])
    if stop < len(frames):
        raise DataError(f"the record of the detections is damaged, {len(frames) - stop} bytes before its end")


def _records(stem: Path) -> dict[int, Path]:
    """The files of an evaluation by rank."""
    name = re.compile(re.escape(stem.name) + r"\.rank(\d+)")
    return {int(match[1]): path for path in stem.parent.iterdir() if (match := name.fullmatch(path.name))}


def _frames_of_images(path: Path, fingerprint: Mapping[str, Any]) -> bytes:
    """The frames of the images in a record, without a torn end.

    Raises:
        DataError: the record is of another evaluation, or the file is no record.
    """
    content = path.read_bytes()
    if not MAGIC.startswith(content[: len(MAGIC)]):
        raise DataError(f"{path}: cannot go on with it: it is no record of detections as this version writes them")
    frames = list(_whole_frames(content, len(MAGIC)))
    if not frames:
        return b""
    header, images = content[slice(*frames[0])], frames[1:]
    different = _differences(json.loads(header), fingerprint)
    if different:
        more = f"; and {len(different) - MAX_NAMED} more" if len(different) > MAX_NAMED else ""
        raise DataError(
            f"{path}: cannot go on with it: it is of another evaluation: {'; '.join(different[:MAX_NAMED])}{more}"
        )
    stop = frames[-1][1]
    if stop < len(content):
        print_log(
            f"{path}: the last {len(content) - stop} bytes are torn and dropped, {len(images)} images are kept",
            logger="current",
            level=logging.WARNING,
        )
    return content[frames[0][1] : stop]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`<name> was <value>, is <value>` for each value that is not the same."""
    names = [name for name in {**before, **now} if before.get(name, ABSENT) != now.get(name, ABSENT)]
    return [f"{name} was {before.get(name, ABSENT)}, is {now.get(name, ABSENT)}" for name in names]


def _frame(payload: bytes) -> bytes:
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _whole_frames(content: bytes, position: int) -> Iterator[tuple[int, int]]:
    """From and to of what each frame holds, until the end or the first torn one."""
    while position + FRAME.size <= len(content):
        length, checksum = FRAME.unpack_from(content, position)
        start, position = position + FRAME.size, position + FRAME.size + length
        if position > len(content) or zlib.crc32(memoryview(content)[start:position]) != checksum:
            return
        yield start, position
