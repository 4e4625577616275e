"""Sizes and orientations in headers against those of decoded images."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from solo.images.header import read_header

GRAY = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (33, 57), dtype=np.uint8), (9, 9), 3)
OPTIONS = {
    "progressive.jpg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "lossy.webp": [cv2.IMWRITE_WEBP_QUALITY, 80],
    "lossless.webp": [cv2.IMWRITE_WEBP_QUALITY, 101],
}
SUFFIXES = ("avif", "bmp", "gif", "jp2", "jpg", "pbm", "pgm", "png", "ppm", "tiff")
NAMES = [name for name in (*OPTIONS, *(f"a.{suffix}" for suffix in SUFFIXES)) if cv2.haveImageWriter(name)]


@pytest.mark.parametrize("name", NAMES)
def test_size_is_that_of_the_decoded_image(name: str) -> None:
    image = GRAY if name.endswith(("pbm", "pgm")) else np.dstack([GRAY] * 3)
    content = cv2.imencode(name[name.index(".") :], image, OPTIONS.get(name, []))[1].tobytes()
    header = read_header(content)
    assert header is not None
    assert (header.height, header.width) == GRAY.shape
    assert not header.is_turned
    assert read_header(content[:4]) is None


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("byte_order", "<>")
def test_orientation_is_the_one_that_opencv_applies(file_format: str, orientation: int, byte_order: str) -> None:
    exif = PillowImage.Exif()
    exif.endian = byte_order
    exif[0x0112] = orientation
    file = io.BytesIO()
    PillowImage.fromarray(GRAY).save(file, file_format, exif=exif)
    header = read_header(file.getvalue())
    assert header is not None
    assert (header.height, header.width) == GRAY.shape
    decoded = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert header.orientation == orientation
    assert decoded.shape[:2] == (GRAY.shape[::-1] if header.is_turned else GRAY.shape)


def test_comments_in_a_pnm_header() -> None:
    header = read_header(b"P5 # 1 1\n#\r57\t# a\n33 255\n" + GRAY.tobytes())
    assert header is not None
    assert (header.height, header.width) == GRAY.shape


def test_os2_bitmap_and_bottom_up_height() -> None:
    assert read_header(b"BM" + bytes(12) + b"\x0c\0\0\0\x39\0\x21\0") == (57, 33, 1, 3)
    assert read_header(b"BM" + bytes(12) + b"\x28\0\0\0\x39\0\0\0\xdf\xff\xff\xff") == (57, 33, 1, 3)


def test_a_second_jpeg_2000_codestream_does_not_hide_the_size() -> None:
    small = cv2.imencode(".jp2", np.ascontiguousarray(GRAY[:32, :50]))[1].tobytes()
    large = cv2.imencode(".jp2", GRAY)[1].tobytes()
    start = small.index(b"\xff\x4f\xff\x51")
    assert read_header(large[:32] + small[start:] + large[32:]) == (57, 33, 1, 3)
