"""A data loader that ends, and says why, when one of its workers is stuck."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakSet

from torch.utils.data import DataLoader

from solo.engine.dataset_wrappers import inner_datasets
from solo.errors import DataError

# Long enough for every image on a busy network disk; shorter than what other processes wait for this one.
TIMEOUT_SECONDS = 600
_TIMED_OUT = "DataLoader timed out"
_MAX_NAMED = 8
_POLL_SECONDS = 5.0
_WORKER_GRACE_SECONDS = 60
_END_SECONDS = 0.5


class WatchedLoader(DataLoader):
    """torch's loader; one whose workers give no batch for `timeout` seconds names the images that they are at.

    An iteration that ends before its time, by an error or since nobody goes on with it, ends its workers, also those
    that hang: nothing is left to wait for when the program ends. Workers start when the first batch is asked for.
    """

    patience: float

    @classmethod
    def of(cls, loader: DataLoader) -> WatchedLoader:
        """Make a loader one of this kind."""
        loader.__class__ = cls
        assert isinstance(loader, cls)
        loader.patience = loader.timeout
        if loader.num_workers:
            # torch looks for workers that have died only at the end of its time-out.
            loader.timeout = min(loader.patience or _POLL_SECONDS, _POLL_SECONDS)
            loader.worker_init_fn = WorkerStart(loader.worker_init_fn)
        return loader

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for dataset in self._noting_datasets():
            dataset.forget_images_in_progress()
        # A worker is born deaf to SIGTERM, until it knows what to do about it.
        with _sigterm_blocked(bool(self.num_workers)):
            iterator: Any = super().__iter__()
        _started.update(_workers_of(iterator))
        is_whole = False
        try:
            yield from self._patiently(iterator)
            is_whole = True
        finally:
            if not is_whole:
                self._end_workers(iterator)

    def _patiently(self, iterator: Iterator[Any]) -> Iterator[Any]:
        waited = 0.0
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith(_TIMED_OUT):
                    raise
                waited += self.timeout
                if self.patience and waited >= self.patience:
                    raise DataError(self._stuck_message()) from None
                continue
            except (EOFError, ConnectionError) as error:
                _raise_if_gone(_workers_of(iterator), error)
                raise
            waited = 0.0
            yield batch

    def _noting_datasets(self) -> list[Any]:
        return [dataset for dataset in inner_datasets(self.dataset) if hasattr(dataset, "images_in_progress")]

    def _stuck_message(self) -> str:
        entries = [entry for dataset in self._noting_datasets() for entry in dataset.images_in_progress]
        named = [f"{path} (for {seconds:.0f} s)" for path, seconds in sorted(entries, key=lambda entry: -entry[1])]
        at = ", ".join(named[:_MAX_NAMED]) + (", ..." if len(named) > _MAX_NAMED else "")
        return (
            f"the workers of a data loader gave no batch for {self.patience:.0f} s; they are at {at or 'no image'}. "
            "If such an image only needs longer, set the loader's `timeout` (seconds, 0 for none)"
        )

    def _end_workers(self, iterator: Any) -> None:
        """What torch does at an iterator's end, and what it lacks: a worker that hangs does not outlive it."""
        workers = _workers_of(iterator)
        if not workers:
            return
        iterator._shutdown_workers()
        _kill(workers)
        # Persistent workers would be asked again.
        self._iterator = None


def _workers_of(iterator: Any) -> list[Any]:
    """The worker processes of a loader's iterator, unless it was inherited from the process that started them."""
    return [worker for worker in getattr(iterator, "_workers", ()) if worker._parent_pid == os.getpid()]


def _raise_if_gone(workers: Iterable[Any], error: Exception) -> None:
    """Say as torch does that a worker has died: what it was handing over goes first, and its end is found out later."""
    for worker in workers:
        worker.join(_END_SECONDS)
        if not worker.is_alive():
            raise RuntimeError(f"DataLoader worker (pid {worker.pid}) exited unexpectedly") from error


def _kill(workers: Iterable[Any]) -> None:
    for worker in workers:
        if worker._parent_pid == os.getpid() and worker.is_alive():
            worker.kill()
            worker.join()


_started: WeakSet[Any] = WeakSet()
# Python waits for its children when it ends, and these no longer follow its SIGTERM at once.
atexit.register(lambda: _kill(list(_started)))


class WorkerStart:
    """What a worker begins with: SIGTERM, which launchers and schedulers send to all processes, does not end it.

    torch's workers would die of it at once, and the training could not finish its step and save.

    Args:
        then: what else a worker begins with.
    """

    def __init__(self, then: Callable[[int], None] | None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGTERM, _end_in_time)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if self.then is not None:
            self.then(worker)


@contextmanager
def _sigterm_blocked(is_asked: bool) -> Iterator[None]:
    """Until the end SIGTERM waits; what is forked inside is born with it blocked."""
    if not is_asked:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_in_time(number: int, frame: FrameType | None) -> None:
    """Go on for a while."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_WORKER_GRACE_SECONDS)


def set_timeouts(config: Any) -> None:
    """Give each loader with workers a time-out, unless its config has one.

    Args:
        config: The config; changed in place.
    """
    for split in ("train", "val", "test"):
        loader = config.get(f"{split}_dataloader")
        if loader and loader.get("num_workers"):
            loader.setdefault("timeout", TIMEOUT_SECONDS)
        elif loader:
            # Without workers there is nothing to wait for, and torch refuses a time-out.
            loader.pop("timeout", None)
