"""TIFF files of any number of bands, in either byte order."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

_SIZES = {3: "H", 4: "I"}


def tiff_bytes(pixels: np.ndarray, *, extra_samples: Sequence[int] = (), endian: str = "<") -> bytes:
    """One uncompressed strip of (H, W, C) unsigned integers or floats."""
    height, width, bands = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder(endian)).tobytes()
    tags: list[tuple[int, int, Sequence[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [8 * pixels.dtype.itemsize] * bands),
        (259, 3, [1]),
        (262, 3, [2 if bands >= 3 else 1]),
        (273, 4, [0]),  # where the strip begins; set below
        (277, 3, [bands]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        (284, 3, [1]),
        *([(338, 3, extra_samples)] if extra_samples else []),
        (339, 3, [3 if pixels.dtype.kind == "f" else 1] * bands),
    ]
    offset = 8 + 2 + 12 * len(tags) + 4
    start = offset + sum(_length(kind, values) for _, kind, values in tags)
    entries, further = b"", b""
    for tag, kind, values in tags:
        values = [start] if tag == 273 else values
        raw = struct.pack(f"{endian}{len(values)}{_SIZES[kind]}", *values)
        if len(raw) > 4:
            field = struct.pack(f"{endian}I", offset + len(further))
            further += raw
        else:
            field = raw.ljust(4, b"\0")
        entries += struct.pack(f"{endian}HHI", tag, kind, len(values)) + field
    header = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(f"{endian}IH", 8, len(tags))
    return header + entries + bytes(4) + further + data


def _length(kind: int, values: Sequence[int]) -> int:
    """Bytes of values that do not fit into their entry."""
    size = struct.calcsize(f"{len(values)}{_SIZES[kind]}")
    return size if size > 4 else 0
