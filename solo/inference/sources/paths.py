"""Which files the words of a command line name: files, folders, patterns, and lists of paths."""

from __future__ import annotations

import glob
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from solo.errors import DataError, printable

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
        *(".pbm", ".pgm", ".ppm", ".pnm", ".gif", ".jp2", ".j2k", ".avif"),
    )
)
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts"),
        *(".wmv", ".asf", ".flv", ".3gp", ".ogv", ".mjpeg", ".mjpg", ".y4m"),
    )
)
LIST_SUFFIX = ".txt"
STANDARD_INPUT = "-"


def find_images(inputs: Sequence[str]) -> list[Path]:
    """List the image files that files, folders and patterns name, each once, in this order.

    Raises:
        DataError: as `find_files`, or an input is a folder that holds videos alone.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        named = find_files(entry)
        images = [path for path in named if Path(entry).expanduser() == path or not is_video(path)]
        if not images:
            raise DataError(f"{printable(entry)}: holds videos but no image")
        found.update(dict.fromkeys(images))
    return list(found)


def find_files(entry: str, *, passed_over: Counter[str] | None = None) -> list[Path]:
    """List the image and video files that a file, a folder or a glob pattern names.

    Folders are not searched recursively; files named directly or by a pattern may have any suffix.

    Args:
        entry: what the user wrote.
        passed_over: where other files of a folder are counted, by suffix.

    Raises:
        DataError: the entry does not exist, matches nothing, or is a folder without images and videos.
    """
    path, shown = Path(entry).expanduser(), printable(entry)
    if path.is_dir():
        return _files_of_folder(path, shown, passed_over=Counter() if passed_over is None else passed_over)
    if path.exists():
        return [path]
    names = sorted(glob.glob(str(path), recursive=True))
    matches = [Path(name) for name in names if not Path(name).is_dir()]
    if not matches:
        raise DataError(f"{shown}: no such file or folder, and no file matches it as a pattern")
    return matches


def is_video(path: Path) -> bool:
    """Whether the suffix is one of videos."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_list(entry: str) -> bool:
    """Whether an entry is a text file of paths."""
    path = Path(entry).expanduser()
    return path.suffix.lower() == LIST_SUFFIX and path.is_file()


def read_list(entry: str) -> list[Path]:
    """Read the paths of a text file, or of the standard input for "-": one a line, empty lines are ignored.

    Relative paths start at the folder of the text file; those of the standard input at the current folder. Whether the
    files exist is found out when they are read.

    Raises:
        DataError: there is no path, or the text is not UTF-8.
    """
    lines, folder = read_lines(entry)
    return list(dict.fromkeys(folder / Path(line).expanduser() for line in lines))


def read_lines(entry: str) -> tuple[list[str], Path]:
    """Read the lines of a list of paths, and the folder that they are relative to.

    Raises:
        DataError: as `read_list`.
    """
    folder, shown = Path(), "the standard input"
    try:
        if entry == STANDARD_INPUT:
            lines = _parse_list(sys.stdin)
        else:
            file = Path(entry).expanduser()
            folder, shown = file.parent, f"list {printable(entry)}"
            with file.open(encoding="utf-8-sig", errors="surrogateescape") as content:
                lines = _parse_list(content)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}") from None
    if not lines:
        raise DataError(f"{shown} holds no path; expected the path of an image or a video on each line")
    return lines, folder


def _parse_list(lines: Iterable[str]) -> list[str]:
    texts = (line.strip("\r\n") for line in lines)
    return [text for text in texts if text.strip()]


def _files_of_folder(folder: Path, shown: str, *, passed_over: Counter[str]) -> list[Path]:
    # Without PyAV the images of a folder are still predicted.
    taken = IMAGE_SUFFIXES | VIDEO_SUFFIXES if find_spec("av") else IMAGE_SUFFIXES
    matches, others, has_folders = [], Counter[str](), False
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"folder {shown} cannot be read: {error.strerror}") from None
    for path in entries:
        suffix = path.suffix.lower()
        if suffix in taken:
            matches.append(path)
        elif path.is_dir():
            has_folders = True
        else:
            others[suffix] += 1
    if not matches:
        problem = f"{shown}: the folder holds no image or video"
        if others:
            problem += f", but {describe_suffixes(others)}"
        if has_folders:
            problem += f"; its folders are searched by a quoted pattern: '{shown}/**/*.png'"
        raise DataError(problem)
    passed_over.update(others)
    return matches


def describe_suffixes(counts: Counter[str]) -> str:
    """Counts of files in words, the most frequent suffixes first."""
    parts = [f"{count} {printable(suffix) or 'without a suffix'}" for suffix, count in counts.most_common(5)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(5))
    return ", ".join([*parts, *([f"{rest} others"] if rest else [])])
