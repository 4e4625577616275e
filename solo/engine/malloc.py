"""Settings of glibc's memory allocator."""

from __future__ import annotations

import ctypes
import os
import platform

# Options of mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep freed memory in the process instead of returning large blocks to the system.

    The system zeroes each page of a new block at its first use. A training step on the CPU allocates its activations
    and the buffers of its convolutions again and again: some 180,000 page faults in a step of a light R18, 4 to 11 %
    of its CPU time. The process keeps its peak size. GPU memory is not affected.

    Returns:
        Whether the setting applies: not without glibc, nor where the environment has its own (`_USER_SETTINGS`).
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _USER_SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1))
