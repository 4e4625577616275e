"""Small videos, encoded by PyAV, in which each frame shows its number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

STEP = 8
"""Gray levels between two frames, more than a codec changes."""


def gray_frames(count: int, *, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Frame i has the gray level i * STEP, modulo 256."""
    return [np.full((*size, 3), index * STEP % 256, np.uint8) for index in range(count)]


def number_of(image: np.ndarray) -> int:
    """The number that a frame of `gray_frames` shows."""
    return round(float(image.mean()) / STEP)


def write_video(
    path: Path, images: Sequence[np.ndarray], *, rate: int = 10, codec: str = "libx264", gop: int | None = None
) -> Path:
    """Encode BGR images; `gop` frames lie between two key frames."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if gop is not None:
            stream.gop_size = gop
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path
