"""Reads the image of a request into memory: nothing of a request is written to a disk, and no name of it is opened."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from fastapi import HTTPException
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from solo.errors import DataError, printable
from solo.images.header import FORMATS, read_header
from solo.images.pixels import BGR, PixelFormat
from solo.images.reading import decode_image

Image = npt.NDArray[np.uint8]
MAX_NAME_LENGTH = 200
_FORM_BYTES = 4096
"""What a form may have beside the image: boundaries and headers."""


class Upload(NamedTuple):
    """An image file as it was sent.

    Attributes:
        name: the last part of the file name that was sent, in printable characters; "image" without one.
        content: bytes of the file.
    """

    name: str
    content: bytes


class _TooLargeError(MultiPartException):
    """The parser closes its files on errors of this base."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"more than {max_bytes} bytes")


class _MemoryParser(MultiPartParser):
    """Keeps files in memory, where Starlette's parser writes those above 1 MB to a temporary file."""

    spool_max_size = 2**62


async def read_upload(request: Request, *, max_bytes: int) -> Upload:
    """Read an image from a form (multipart/form-data, its first file) or from the plain body.

    Raises:
        HTTPException: 413 for too large a body, 400 for a damaged form or one without a file, 415 for JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        raise HTTPException(415, "expected an image, as the body or as a file of a form, got application/json")
    try:
        if kind == "multipart/form-data":
            return await _read_form(request, max_bytes=max_bytes)
        return Upload("image", await read_body(request, max_bytes=max_bytes))
    except _TooLargeError:
        raise HTTPException(413, f"the request has more than {max_bytes} bytes") from None
    except (MultiPartException, KeyError) as error:
        raise HTTPException(400, f"the form cannot be read: {printable(str(error))}") from None


async def _read_form(request: Request, *, max_bytes: int) -> Upload:
    stream = _limited_stream(request, max_bytes=max_bytes + _FORM_BYTES)
    form = await _MemoryParser(request.headers, stream, max_files=1, max_fields=8).parse()
    try:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                content = await value.read()
                if len(content) > max_bytes:
                    raise _TooLargeError(max_bytes)
                return Upload(base_name(value.filename or ""), content)
    finally:
        await form.close()
    raise HTTPException(400, "the form has no file; send the image as the field 'image'")


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413 for more than `max_bytes`.
    """
    try:
        return b"".join([chunk async for chunk in _limited_stream(request, max_bytes=max_bytes)])
    except _TooLargeError:
        raise HTTPException(413, f"the request has more than {max_bytes} bytes") from None


async def _limited_stream(request: Request, *, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces; raises `_TooLargeError` once it has more than `max_bytes`, or says so in its header."""
    stated = request.headers.get("content-length", "0")
    received = int(stated) if stated.isdecimal() else 0
    if received > max_bytes:
        raise _TooLargeError(max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _TooLargeError(max_bytes)
        yield chunk


def base_name(path: str) -> str:
    """The last part of a path of any system, in printable characters; "image" when nothing is left."""
    name = printable(re.split(r"[/\\]", path)[-1]).strip()
    return name[-MAX_NAME_LENGTH:] or "image"


def decode_upload(upload: Upload, *, max_pixels: int, pixels: PixelFormat = BGR) -> Image:
    """Decode an image as `solo predict` does: (H, W, C) uint8, as `pixels` says.

    Raises:
        HTTPException: 400 for an empty or damaged file, 413 for too many pixels, 415 for another format.
    """
    if not upload.content:
        raise HTTPException(400, f"image {upload.name} is empty")
    header = read_header(upload.content)
    if header is None:
        detail = f"image {upload.name} is damaged or not of a supported format ({FORMATS})"
        raise HTTPException(415, detail)
    if header.width * header.height > max_pixels:
        detail = f"image {upload.name} has {header.width} x {header.height} pixels, more than {max_pixels}"
        raise HTTPException(413, detail)
    try:
        return decode_image(upload.content, upload.name, max_pixels=max_pixels, pixels=pixels)
    except DataError as error:
        raise HTTPException(400, printable(str(error))) from None
