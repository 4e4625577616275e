"""Python's search for cycles, paused while many objects are made that are in none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Look for no cycles: among millions of new lists or dicts that takes longer than making them.

    Objects without cycles are freed as ever. As it was, on or off, it is afterwards.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
