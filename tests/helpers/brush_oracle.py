"""A decoder of Label Studio's brushes, bit by bit as its front end reads them (the package rle-pack)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def decode_brush(content: Sequence[int], *, height: int, width: int) -> np.ndarray:
    """The channel of alpha: (H, W) uint8."""
    bits = "".join(f"{byte:08b}" for byte in content)
    at = 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run, length = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    return np.array(values, np.uint8).reshape(height, width, 4)[..., 3]
