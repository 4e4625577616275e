"""A thread that reads while the model runs, and the bounded queue between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Takes items from a generator in a thread. Iterate over it once, then `close` it.

    Attributes:
        dropped: items that a newer one replaced; 0 unless `newest_only`.
    """

    def __init__(self, items: Generator[T], *, depth: int, newest_only: bool = False) -> None:
        """Start the thread.

        Args:
            items: what is read. It is advanced and closed in the thread; its exceptions are raised to the consumer.
            depth: how many items wait at most.
            newest_only: a full queue loses its oldest item. Without it the thread waits for the consumer.
        """
        self.dropped = 0
        self._items = items
        self._depth = depth
        self._newest_only = newest_only
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._is_closed = self._is_over = False
        self._error: BaseException | None = None
        # A daemon: a camera that sends nothing must not keep the program from its end.
        self._thread = threading.Thread(target=self._read, name="solo reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_over)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self, *, patience: float = 2.0) -> None:
        """Stop the thread; wait at most `patience` seconds for a read that blocks."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(patience)

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as error:
            self._error = error
        finally:
            self._items.close()
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        """Queue an item; False when nobody takes it any more."""
        with self._changed:
            if self._newest_only:
                while len(self._waiting) >= self._depth:
                    self._waiting.popleft()
                    self.dropped += 1
            else:
                self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._is_closed)
            if not self._is_closed:
                self._waiting.append(item)
                self._changed.notify_all()
            return not self._is_closed
