"""Random transforms as a function of (seed, epoch, index), whichever process runs them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

_batch_number: ContextVar[int | None] = ContextVar("batch_number", default=None)


@contextmanager
def seeded_by(*key: int) -> Iterator[None]:
    """Seed `random` and `numpy.random` from the key, and restore their former state at the end.

    Transforms sample from these two; torch's generator is left alone.
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


@contextmanager
def batch_numbered(number: int) -> Iterator[None]:
    """Number the batch whose samples are being loaded, from 0, in a training that has no epochs.

    The number is sent with the batch, unlike an epoch, which is set for all workers at once: workers prefetch, so that
    one may load for the next pass over the data while another still loads for this one.
    """
    token = _batch_number.set(number)
    try:
        yield
    finally:
        _batch_number.reset(token)


def batch_number() -> int | None:
    """The number of the batch that is being loaded; None in a training by epochs."""
    return _batch_number.get()
