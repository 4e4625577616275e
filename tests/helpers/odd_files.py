"""Files that are small or short of an end, but take all memory or all time when they are read without care."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path


def png_bomb(side: int = 30_000) -> bytes:
    """A black PNG of one bit per pixel: about 100 KB for 30000 x 30000."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    pixels = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def make_endless(path: Path, kind: str) -> Path:
    """A pipe without a writer ("fifo") or a link to a device without an end ("device")."""
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path
