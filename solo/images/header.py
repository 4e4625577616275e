"""Reads the size and the EXIF orientation of an image file from its header, without decoding it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

FORMATS = "AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PNM, TIFF, WebP"

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
JPEG_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame, for each way of coding
_STANDALONE = {0x00, 0x01, *range(0xD0, 0xD9)}  # markers without a length
_CODESTREAM = b"\xff\x4f\xff\x51"
_WIDTH, _HEIGHT, _ORIENTATION, _BANDS, _EXTRA_SAMPLES = 256, 257, 274, 277, 338
_PREMULTIPLIED_ALPHA, _STRAIGHT_ALPHA = 1, 2
_PNM = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")


class ImageHeader(NamedTuple):
    """Size of the stored pixels, EXIF orientation, and number of bands of a TIFF file."""

    width: int
    height: int
    orientation: int = 1  # 1 to 8
    bands: int = 3  # of other formats not read

    @property
    def is_turned(self) -> bool:
        """Whether the orientation swaps width and height."""
        return self.orientation >= 5


def read_header(content: bytes) -> ImageHeader | None:
    """Read the header of an image file; None when it is damaged or of another kind than `FORMATS`."""
    try:
        width, height = _read_size(content)
    except (struct.error, KeyError, ValueError):
        return None
    if width <= 0 or height <= 0:
        return None
    orientation = _read_orientation(content)
    return ImageHeader(width, height, orientation if orientation in range(1, 9) else 1, _read_bands(content))


def keep_tiff_bands(content: bytes) -> bytes:
    """A TIFF file whose first three bands are decoded as they are stored; other files are returned unchanged.

    The decoder multiplies colours by a fourth band that is marked as transparency, which a band of remote sensing may
    be too. Marked as a transparency that the colours were multiplied by already, it is left alone.
    """
    if not content.startswith((b"II", b"MM")):
        return content
    try:
        entries = list(_tiff_entries(content, 0))
    except (struct.error, KeyError):
        return content
    changed = bytearray(content)
    for order, tag, kind, count, offset in entries:
        if tag == _EXTRA_SAMPLES and kind == 3 and count:
            capacity = 4 if content[2:4] in (b"\x2a\0", b"\0\x2a") else 8
            if 2 * count > capacity:
                (offset,) = struct.unpack_from(f"{order}I" if capacity == 4 else f"{order}Q", content, offset)
            if content[offset : offset + 2] == struct.pack(f"{order}H", _STRAIGHT_ALPHA):
                struct.pack_into(f"{order}H", changed, offset, _PREMULTIPLIED_ALPHA)
    return bytes(changed)


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """The marker of each segment up to the pixels and the offset behind it; bytes in between are skipped as usual."""
    offset = len(JPEG_START)
    while (offset := content.find(b"\xff", offset)) >= 0 and offset + 4 <= len(content):
        marker = content[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
            continue
        offset += 2
        if marker in _STANDALONE:
            continue
        yield marker, offset
        if marker in (JPEG_SCAN, _END_OF_IMAGE):
            return
        offset += int.from_bytes(content[offset : offset + 2], "big")


def _read_size(content: bytes) -> tuple[int, int]:
    """Width and height as the decoder of the format reads them.

    Raises:
        struct.error, KeyError, ValueError: The header is damaged or of an unknown kind.
    """
    if content.startswith(PNG_START):
        return struct.unpack_from(">II", content, 16)
    if content.startswith(JPEG_START):
        frame = next((offset for marker, offset in jpeg_segments(content) if marker in _FRAMES), len(content))
        height, width = struct.unpack_from(">HH", content, frame + 3)
        return width, height
    if content.startswith(b"BM"):
        width, height = struct.unpack_from("<HH" if content[14:18] == b"\x0c\0\0\0" else "<ii", content, 18)
        return abs(width), abs(height)
    if content.startswith(b"GIF8"):
        return struct.unpack_from("<HH", content, 6)
    if content.startswith((b"II", b"MM")):
        fields = _read_tiff_fields(content)
        return fields[_WIDTH], fields[_HEIGHT]
    if content.startswith(b"RIFF"):
        return _read_webp_size(content)
    if content.startswith((_CODESTREAM, b"\0\0\0\x0cjP  \r\n\x87\n")):
        sizes = [struct.unpack_from(">IIII", content, found.end() + 4) for found in re.finditer(_CODESTREAM, content)]
        return max((right - left, bottom - top) for right, bottom, left, top in sizes)
    if content[4:12] in (b"ftypavif", b"ftypavis", b"ftypmif1"):
        return max(struct.unpack_from(">II", content, found.end() + 4) for found in re.finditer(b"ispe", content))
    found = _PNM.match(content, 0, 2**16)
    if not found:
        raise ValueError("of an unknown kind")
    return int(found[1]), int(found[2])


def _read_webp_size(content: bytes) -> tuple[int, int]:
    if content[12:16] == b"VP8X":
        return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    if content[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff_entries(content: bytes, start: int) -> Iterator[tuple[str, int, int, int, int]]:
    """Byte order, tag, type, number of values and offset of the value field, of the first directory of TIFF or EXIF."""
    order = {b"II": "<", b"MM": ">"}[content[start : start + 2]]
    (version,) = struct.unpack_from(f"{order}H", content, start + 2)
    is_big = version == 43
    (directory,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", content, start + (8 if is_big else 4))
    directory += start
    (num_entries,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}H", content, directory)
    entry = directory + (8 if is_big else 2)
    for _ in range(min(num_entries, 2**16)):
        tag, kind, count = struct.unpack_from(f"{order}HHQ" if is_big else f"{order}HHI", content, entry)
        yield order, tag, kind, count, entry + (12 if is_big else 8)
        entry += 20 if is_big else 12


def _read_tiff_fields(content: bytes, start: int = 0) -> dict[int, int]:
    """Tag -> value of the whole numbers in the first directory of a TIFF or BigTIFF file, or of EXIF data."""
    codes, fields = {1: "B", 3: "H", 4: "I", 16: "Q"}, {}
    for order, tag, kind, _, offset in _tiff_entries(content, start):
        if kind in codes:
            (fields[tag],) = struct.unpack_from(order + codes[kind], content, offset)
    return fields


def _read_bands(content: bytes) -> int:
    """Samples of a pixel of a TIFF file; 3 for other formats."""
    if not content.startswith((b"II", b"MM")):
        return 3
    return _read_tiff_fields(content).get(_BANDS, 1)


def _read_orientation(content: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none."""
    start = 0
    if not content.startswith((b"II", b"MM")):
        # JPEG has it before the pixels, as its first segments; the name of the chunk or box precedes it elsewhere.
        if content.startswith(JPEG_START):
            offsets = (offset + 2 for marker, offset in jpeg_segments(content) if marker == 0xE1)
            start = next((offset + 6 for offset in offsets if content.startswith(b"Exif\0\0", offset)), -1)
        else:
            found = re.search(rb"(?:eXIf|EXIF....(?:Exif\0\0)?|Exif\0\0)(?=II\*\0|MM\0\*)", content, re.DOTALL)
            start = found.end() if found else -1
    try:
        return _read_tiff_fields(content, start).get(_ORIENTATION, 1) if start >= 0 else 1
    except (struct.error, KeyError):
        return 1
