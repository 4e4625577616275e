"""A COCO file of any length, written in bounded memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from solo.errors import OutputError
from solo.inference.instances import coco_categories
from solo.output_files import write_output

_PIECE = 1 << 20


class CocoSpool:
    """Collects images and annotations in files without a name, which vanish with the process, and joins them.

    Attributes:
        num_images: images so far.
        num_annotations: annotations so far.
    """

    def __init__(self, path: Path, *, classes: Sequence[str], info: Mapping[str, Any]) -> None:
        """Prepare a file; its folder exists.

        Args:
            path: the file.
            classes: class names; categories get the ids 1, 2, ...
            info: the first entry of the file.
        """
        self.num_images = self.num_annotations = 0
        self._path = path
        self._classes = classes
        self._info = info
        self._files: list[IO[bytes]] = []

    def add(self, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> None:
        """Add an image and its annotations.

        Raises:
            OutputError: the disk is full, or the folder cannot be written to.
        """
        try:
            self._open()
            _append(self._files[0], [image], is_first=self.num_images == 0)
            _append(self._files[1], annotations, is_first=self.num_annotations == 0)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from None
        self.num_images += 1
        self.num_annotations += len(annotations)

    def close(self) -> None:
        """Write the file.

        Raises:
            OutputError: the file cannot be written.
        """
        with contextlib.ExitStack() as stack:
            for file in self._files:
                stack.enter_context(file)
            write_output(self._path, self._pieces())

    def _open(self) -> None:
        while len(self._files) < 2:
            self._files.append(tempfile.TemporaryFile(dir=self._path.parent))  # noqa: SIM115 - `close` closes it

    def _pieces(self) -> Iterator[bytes]:
        yield b'{"info": ' + json.dumps(self._info).encode()
        for name, file in itertools.zip_longest(("images", "annotations"), self._files):
            yield f', "{name}": ['.encode()
            if file is not None:
                file.seek(0)
                while piece := file.read(_PIECE):
                    yield piece
            yield b"]"
        yield b', "categories": ' + json.dumps(coco_categories(self._classes)).encode() + b"}"


def _append(file: IO[bytes], records: Sequence[Mapping[str, Any]], *, is_first: bool) -> None:
    if records:
        file.write((b"" if is_first else b", ") + ", ".join(map(json.dumps, records)).encode())
