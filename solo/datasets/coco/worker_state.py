"""What the workers of a data loader share with the main process: the images that they are loading."""

from __future__ import annotations

import time

import torch
from torch.utils.data import get_worker_info

_MAX_WORKERS = 256
_NONE = -1


class ImagesInProgress:
    """The image that each worker is loading and since when, in shared memory, for a worker that hangs cannot report it.

    One slot a worker, which it alone writes, so no lock is needed. Images of the main process are not recorded.
    """

    def __init__(self) -> None:
        self._index = torch.full((_MAX_WORKERS,), _NONE, dtype=torch.int64).share_memory_()
        self._since = torch.zeros(_MAX_WORKERS, dtype=torch.float64).share_memory_()

    def begin(self, index: int) -> None:
        """Record the image that this worker begins to load."""
        worker = get_worker_info()
        if worker is not None and worker.id < _MAX_WORKERS:
            self._since[worker.id] = time.monotonic()
            self._index[worker.id] = index

    def end(self) -> None:
        """Record that this worker has loaded its image."""
        worker = get_worker_info()
        if worker is not None and worker.id < _MAX_WORKERS:
            self._index[worker.id] = _NONE

    def clear(self) -> None:
        """Clear the entries of workers that have exited."""
        self._index.fill_(_NONE)

    def slowest_first(self) -> list[tuple[int, float]]:
        """(index, seconds so far) of each image that a worker is loading."""
        now = time.monotonic()
        busy = (self._index != _NONE).nonzero().flatten().tolist()
        found = [(int(self._index[worker]), now - float(self._since[worker])) for worker in busy]
        return sorted(found, key=lambda entry: -entry[1])
