"""Runs the models in one thread, with a bounded number of requests and a time limit for each."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import HTTPException

from solo.errors import UserError, printable

_LOGGER = logging.getLogger(__name__)
Received = TypeVar("Received")
Result = TypeVar("Result")

RETRY_AFTER = "1"
"""Seconds, for requests that found the server busy."""


class JobQueue:
    """Requests in the order in which they were received. One thread computes: models use all cores by themselves."""

    def __init__(self, *, max_requests: int, timeout: float) -> None:
        """Start the thread.

        Args:
            max_requests: how many requests are received, wait or run at once.
            timeout: seconds for each of them.
        """
        self._max_requests, self._timeout = max_requests, timeout
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="solo-serve")
        self._lock = threading.Lock()
        self._active = 0

    @property
    def active(self) -> int:
        """How many requests are received, wait or run."""
        return self._active

    async def run(self, receive: Awaitable[Received], work: Callable[[Received], Result]) -> Result:
        """Receive a request, and compute with what it holds in the thread.

        Args:
            receive: reads the body; nothing is read from a request that finds the server busy.
            work: is called in the thread.

        Raises:
            HTTPException: 503 when the server is busy, 408 or 504 when receiving or computing takes too long; or
                what `receive` and `work` raise.
        """
        if not self._take_slot():
            getattr(receive, "close", lambda: None)()
            detail = f"the server is busy with {self._max_requests} requests; try again"
            raise HTTPException(503, detail, headers={"Retry-After": RETRY_AFTER})
        future: Future[Result] | None = None
        start = asyncio.get_running_loop().time()
        try:
            received = await self._within(start, receive)
            future = self._executor.submit(work, received)
            return await self._within(start, asyncio.wrap_future(future))
        except asyncio.TimeoutError:  # an alias of TimeoutError since Python 3.11
            if future is None:
                raise HTTPException(408, f"the request was not received within {self._timeout:g} seconds") from None
            detail = f"there was no result within {self._timeout:g} seconds; the server is busy, or the image too large"
            raise HTTPException(504, detail, headers={"Retry-After": RETRY_AFTER}) from None
        finally:
            # A call of a model cannot be interrupted: it keeps its slot until it ends.
            if future is None or future.done() or future.cancel():
                self._free_slot()
            else:
                future.add_done_callback(self._free_slot)

    async def _within(self, start: float, awaitable: Awaitable[Any]) -> Any:
        left = self._timeout - (asyncio.get_running_loop().time() - start)
        return await asyncio.wait_for(awaitable, max(0.0, left))

    def _take_slot(self) -> bool:
        with self._lock:
            is_free = self._active < self._max_requests
            self._active += is_free
        return is_free

    def _free_slot(self, _: object = None) -> None:
        with self._lock:
            self._active -= 1

    def close(self) -> None:
        """Cancel what waits, and let the thread end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def checked(work: Callable[[], Result]) -> Result:
    """Convert what a model raises into HTTP errors of one line.

    Raises:
        HTTPException: 422 for images that the model does not take; 500 for anything else, which is logged.
    """
    try:
        return work()
    except HTTPException:
        raise
    except UserError as error:
        raise HTTPException(422, printable(str(error))) from None
    except Exception as error:
        _LOGGER.exception("a request failed")
        raise HTTPException(500, f"the model failed: {type(error).__name__}; the server's log says more") from None
