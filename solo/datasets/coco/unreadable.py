"""Which images could not be read, known in the main process whichever worker met them."""

from __future__ import annotations

import torch

from solo.errors import DataError


class UnreadableImages:
    """A set of image indices in shared memory: workers add to it, the main process reads it.

    One byte an image; several processes may set the same byte, so no lock is needed.
    """

    def __init__(self, *, num_images: int, limit: int) -> None:
        """Start with an empty set.

        Args:
            num_images: Images of the data set.
            limit: More images than this end the run.
        """
        if limit < 0:
            raise DataError(f"max_unreadable must be at least 0, not {limit}")
        self.limit = limit
        self._flags = torch.zeros(num_images, dtype=torch.bool).share_memory_()

    def add(self, index: int) -> bool:
        """Remember an image; False when it was known."""
        is_new = not bool(self._flags[index])
        self._flags[index] = True
        return is_new

    def __len__(self) -> int:
        return int(self._flags.sum())

    def __contains__(self, index: int) -> bool:
        return bool(self._flags[index])

    def indices(self) -> list[int]:
        """Their indices, ascending."""
        return self._flags.nonzero().flatten().tolist()
