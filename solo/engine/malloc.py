"""What the C library does with memory that the process frees."""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of `mallopt`, see mallopt(3)."""
_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep freed memory for the next allocation, where glibc would hand large blocks back to the system at once.

    What comes anew from the system is mapped and zeroed page by page at the first touch. A training step on the CPU
    allocates its activations, and what convolutions rearrange, again and again: some 100,000 page faults a step of a
    light R18, which are gone with this. The process stays as large as it once was. Threads and processes to come are
    concerned as well; memory of GPUs is not.

    Returns:
        Whether it is so now: not with another C library, nor where the environment (`MALLOC_TRIM_THRESHOLD_`,
        `MALLOC_MMAP_THRESHOLD_`, `MALLOC_MMAP_MAX_` or `GLIBC_TUNABLES`) has chosen for itself.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _CHOICES):
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(_MMAP_MAX, 0)) and bool(set_option(_TRIM_THRESHOLD, -1))
