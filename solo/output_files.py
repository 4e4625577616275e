"""Result files: written whole or not at all, and never over a file that was not meant."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from solo.errors import ConfigError, OutputError

MARK_REACH = 256
"""A mark lies within the first bytes of a file, so that only these are read."""

MAX_STEM_BYTES = 230
"""File systems allow 255 bytes: numbers and a suffix still fit."""


class UniqueStems:
    """Gives file names without suffix that differ from each other, in a time that is linear in their number."""

    def __init__(self) -> None:
        """Start without names."""
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """A name like the one that is wanted: shortened if it is too long, with a number where it is taken."""
        encoded = os.fsencode(wanted)
        if len(encoded) > MAX_STEM_BYTES:
            wanted = encoded[:MAX_STEM_BYTES].decode("utf-8", "ignore")  # without a character that was cut in two
        name = wanted
        while name in self._taken:
            self._counts[wanted] = self._counts.get(wanted, 1) + 1
            name = f"{wanted}_{self._counts[wanted]}"
        self._taken.add(name)
        return name


def check_outputs(
    paths: Iterable[str | os.PathLike[str]],
    *,
    overwrite: bool,
    inputs: Iterable[str | os.PathLike[str]] = (),
    mark: bytes | None = None,
    allow_streams: bool = False,
) -> None:
    """Refuse paths whose files must not be replaced; to be called before the results are computed.

    Args:
        paths: the files to write.
        overwrite: replace files that exist. Without it, only files that begin with `mark` are replaced.
        inputs: files that are read, which are never replaced.
        mark: bytes near the start of the files that the same command writes.
        allow_streams: accept character devices and pipes, such as `/dev/stdout`, which `write_output` writes to.

    Raises:
        OutputError: a file is an input, exists, or is a folder.
    """
    read = {_identity(file) for file in inputs} - {None}
    for path in map(Path, paths):
        if not os.path.lexists(path) or (allow_streams and _is_stream(path)):
            continue
        if _identity(path) in read:
            raise OutputError(f"{path} is a file that this command reads and would overwrite; choose another name")
        if not path.is_symlink() and not path.is_file():
            raise OutputError(f"{path} cannot be written: it is {'a folder' if path.is_dir() else 'no regular file'}")
        if not overwrite and not (mark is not None and _carries(path, mark)):
            raise OutputError(f"{path} exists already; choose another name, or replace the file with --overwrite")


def inputs_within(folder: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The entries of a folder, whatever their names, that are files of `inputs`; none for a missing folder."""
    with contextlib.suppress(OSError):
        entries = {_identity(entry): entry for entry in Path(folder).iterdir()}
        return [entries[found] for found in map(_identity, inputs if entries else ()) if found and found in entries]
    return []


def write_output(path: str | os.PathLike[str], content: bytes | Iterable[bytes]) -> None:
    """Write a file under a temporary name in its folder and rename it; missing folders are created.

    A link of that name is replaced, not followed. Character devices and pipes are written to directly.

    Args:
        path: the file.
        content: its bytes, or pieces of them, which are never held together.

    Raises:
        OutputError: the file cannot be written; an earlier one is left as it is.
    """
    path = Path(path)
    pieces = (content,) if isinstance(content, bytes) else content
    is_stream = _is_stream(path)
    # Neither the length nor the name depends on that of the file: it fits, and nobody can prepare a link there.
    target = path if is_stream else path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb" if is_stream else "xb") as file:
            file.writelines(pieces)
        if not is_stream:
            target.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        if not is_stream:
            with contextlib.suppress(OSError):
                target.unlink()


@contextlib.contextmanager
def staged_output(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name in the folder of the file, for a writer that needs one; renamed to the file when the block ends.

    An exception within the block removes the file that was begun.

    Raises:
        OutputError: the folder cannot be made, or the file cannot be renamed.
    """
    path = Path(path)
    target = path.with_name(f".{secrets.token_hex(8)}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield target
        target.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            target.unlink()


def _is_stream(path: Path) -> bool:
    """Whether the path leads to a character device or a pipe, such as `/dev/stdout`."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """What two names of one file have in common; None for a file that does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _carries(path: Path, mark: bytes) -> bool:
    if path.is_symlink():
        return False
    with contextlib.suppress(OSError), path.open("rb") as file:
        return mark in file.read(MARK_REACH)
    return False


def make_folder(folder: str | os.PathLike[str], *, option: str) -> None:
    """Make a folder for results before they are computed, so that they are not lost when it cannot be made."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{option}: folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{option}: folder {folder} is not writable")
