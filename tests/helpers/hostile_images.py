"""Images in every format that is read, and headers that state a false size with a valid checksum."""

from __future__ import annotations

import io
import random
import struct
import zlib

import cv2
import numpy as np
from PIL import Image as PillowImage

HEIGHT, WIDTH = 48, 64
ORIENTATION = 0x0112
SIZES = (1, 63, 16383, 20000, 30000, 65500)


def sound_images(seed: int) -> list[tuple[str, bytes]]:
    """Suffix and content of images of `HEIGHT` x `WIDTH` pixels, some of them with EXIF."""
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    pixels = cv2.GaussianBlur(noise, (9, 9), 3)
    options = [("jpg", []), ("jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])]
    options += [("webp", [cv2.IMWRITE_WEBP_QUALITY, 80]), ("webp", [cv2.IMWRITE_WEBP_QUALITY, 101])]
    options += [(suffix, []) for suffix in ("avif", "bmp", "gif", "jp2", "pbm", "pgm", "png", "ppm", "tiff")]
    files = []
    for suffix, option in options:
        if cv2.haveImageWriter(f"a.{suffix}"):
            image = pixels[..., 0] if suffix in ("pbm", "pgm") else pixels
            files.append((f".{suffix}", cv2.imencode(f".{suffix}", image, option)[1].tobytes()))
    exif = PillowImage.Exif()
    exif[ORIENTATION] = 3
    for suffix, file_format in ((".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP"), (".tiff", "TIFF")):
        file = io.BytesIO()
        PillowImage.fromarray(pixels).save(file, file_format, exif=exif)
        files.append((suffix, file.getvalue()))
    return files


def with_false_size(content: bytes, draw: random.Random) -> bytes:
    """Replace width and height in the header, wherever they may be."""
    changed = bytearray(content)
    for code in (">I", "<I", ">H", "<H"):
        for side in (HEIGHT, WIDTH):
            written = struct.pack(code, side)
            place = content.find(written, 0, 400)
            if place >= 0 and draw.random() < 0.6:
                changed[place : place + len(written)] = struct.pack(code, draw.choice(SIZES))
    if content.startswith(b"\x89PNG"):
        changed[29:33] = struct.pack(">I", zlib.crc32(bytes(changed[12:29])))
    return bytes(changed)
