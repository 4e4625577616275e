"""Random draws of a sample as a function of (seed, epoch, index), whichever process makes them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_by(*key: int) -> Iterator[None]:
    """Seed `random` and `numpy.random` from the key, and restore their former state at the end.

    These two are what transforms draw from; torch's generator is left alone.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
