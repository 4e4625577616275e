"""Images by path or URL: which ones the words of a command line name, and how one is read."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from solo.errors import DataError, printable
from solo.inference.distributed.shards import import_from_extra
from solo.inference.sources.live import without_secrets
from solo.inference.sources.paths import (
    IMAGE_SUFFIXES,
    STANDARD_INPUT,
    find_images,
    is_list,
    is_video,
    read_lines,
)

MAX_BYTES = 2**30
"""Of a downloaded image: 8 bytes for each of the most pixels that are decoded."""
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_PATTERN = re.compile(r"[*?\[]")


class ImageLocation(NamedTuple):
    """Where an image is.

    Attributes:
        name: what is written about it: its absolute path, or its URL without user, password and query.
        source: absolute path, or the whole URL.
    """

    name: str
    source: str


def find_locations(words: Sequence[str]) -> list[ImageLocation]:
    """List the images that files, folders, patterns, lists of paths and URLs name, each once, in this order.

    A URL that ends with "/" is a folder; one with a wildcard is a pattern, but not of http. Lists hold files and URLs.

    Raises:
        DataError: a word names nothing or a video, or two URLs would have the same name.
        ConfigError: the package of a URL's file system is not installed.
    """
    sources: dict[str, None] = {}
    for word in words:
        if word == STANDARD_INPUT or is_list(word):
            lines, folder = read_lines(word)
            found = [line if _URL.match(line) else str(folder / Path(line).expanduser()) for line in lines]
        elif _URL.match(word):
            found = _list_url(word)
        else:
            found = [str(path) for path in find_images([word])]
        sources.update(dict.fromkeys(source if _URL.match(source) else os.path.abspath(source) for source in found))
    named: dict[str, str] = {}
    for source in sources:
        if is_video(Path(without_secrets(source) if _URL.match(source) else source)):
            raise DataError(f"{_name(source)}: is a video; with --ray images alone are predicted")
        if named.setdefault(_name(source), source) != source:
            raise DataError(
                f"{_name(source)} is named twice, with other users, passwords or queries: these are not written, so "
                "that the results of the two could not be told apart"
            )
    return [ImageLocation(name, source) for name, source in named.items()]


def read_location(location: ImageLocation, *, read: Callable[[Path], Any]) -> Any:
    """Read an image by a function that takes a path, such as `SOLOPredictor.read_image`; URLs are downloaded first.

    Raises:
        DataError: it cannot be read.
    """
    if not _URL.match(location.source):
        return read(Path(location.source))
    with tempfile.TemporaryDirectory(prefix="solo_") as folder:
        file = Path(folder) / "image"
        try:
            _download(location.source, file)
            return read(file)
        except DataError as error:
            raise DataError(str(error).replace(str(file), location.name)) from None
        except Exception as error:  # file systems have no common class of errors, and their messages hold whole URLs
            reason = " ".join(str(error).replace(location.source, location.name).split())
            raise DataError(f"image {location.name} cannot be read: {type(error).__name__} {reason[:200]}") from None


def _download(url: str, file: Path) -> None:
    fsspec = import_from_extra("fsspec")
    with fsspec.open(url, "rb") as content, file.open("wb") as copy:
        shutil.copyfileobj(_Bounded(content), copy)


class _Bounded:
    """A file that ends with an error after `MAX_BYTES`."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, MAX_BYTES

    def read(self, size: int = -1, /) -> bytes:
        block: bytes = self._file.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        return block


def _list_url(url: str) -> list[str]:
    """The images of a folder or pattern of fsspec, or the URL itself."""
    shown = printable(without_secrets(url))
    try:
        files, path = import_from_extra("fsspec").core.url_to_fs(url)
        is_web = url.lower().startswith(("http://", "https://"))
        if not url.endswith("/") and (is_web or not _PATTERN.search(url)):
            return [url]
        found = files.ls(path, detail=False) if url.endswith("/") else files.glob(path)
    except (ImportError, ValueError) as error:  # an unknown protocol, or one whose package is missing
        raise DataError(f"{shown}: {error}") from None
    except Exception as error:
        raise DataError(f"{shown} cannot be listed: {' '.join(str(error).split())[:200]}") from None
    images = sorted(str(files.unstrip_protocol(each)) for each in found if Path(each).suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise DataError(f"{shown}: no image there")
    return images


def _name(source: str) -> str:
    """A name that can be encoded, also of paths that are not UTF-8."""
    shown = without_secrets(source) if _URL.match(source) else source
    return shown.encode("utf-8", "backslashreplace").decode()
