"""A data loader that stops with an error naming the images when its workers are stuck."""

from __future__ import annotations

import atexit
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any
from weakref import WeakSet

from torch.utils.data import DataLoader

from solo.errors import DataError

# Longer than a read from a busy network disk, shorter than the time other processes wait for this one.
TIMEOUT_SECONDS = 600
_TIMED_OUT = "DataLoader timed out"
_MAX_NAMED = 8
_POLL_SECONDS = 5.0
_WORKER_GRACE_SECONDS = 60
_JOIN_SECONDS = 0.5


class TimedDataLoader(DataLoader):
    """torch's loader, whose timeout names the images that the workers are loading.

    When an iteration ends early, by an error or because its iterator is closed, its workers are terminated, including
    those that hang. Workers start when the first batch is requested.

    Attributes:
        batch_timeout: seconds to wait for a batch, 0 for no limit. torch's `timeout` is the interval between checks.
    """

    batch_timeout: float

    @classmethod
    def from_loader(cls, loader: DataLoader) -> TimedDataLoader:
        """Convert a loader in place: torch's class has no way to copy one."""
        loader.__class__ = cls
        assert isinstance(loader, cls)
        loader.batch_timeout = loader.timeout
        if loader.num_workers:
            # torch checks for dead workers only when its own timeout is over.
            loader.timeout = min(loader.batch_timeout or _POLL_SECONDS, _POLL_SECONDS)
            loader.worker_init_fn = partial(_init_worker, inner=loader.worker_init_fn)
        return loader

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for dataset in self._tracking_datasets():
            dataset.forget_images_in_progress()
        # Fork workers with SIGTERM blocked; worker_init_fn unblocks it.
        try:
            with _sigterm_blocked(enabled=bool(self.num_workers)):
                iterator: Any = super().__iter__()
        except Exception as error:  # of the batch sampler, whose first batches torch requests here
            # The frames keep torch's half-built iterator alive, and thereby its workers, up to the end of the program.
            traceback.clear_frames(error.__traceback__)
            raise
        _started.update(_own_workers(iterator))
        is_complete = False
        try:
            yield from self._batches(iterator)
            is_complete = True
        finally:
            if not is_complete:
                self._terminate_workers(iterator)

    def _batches(self, iterator: Iterator[Any]) -> Iterator[Any]:
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
                if self.batch_timeout and waited >= self.batch_timeout:
                    raise DataError(self._timeout_message()) from None
                continue
            except (EOFError, ConnectionError) as error:
                _raise_if_dead(_own_workers(iterator), error)
                raise
            waited = 0.0
            yield batch

    def _tracking_datasets(self) -> list[Any]:
        """The datasets that record which images their workers are loading."""
        return [dataset for dataset in inner_datasets(self.dataset) if hasattr(dataset, "images_in_progress")]

    def _timeout_message(self) -> str:
        entries = [entry for dataset in self._tracking_datasets() for entry in dataset.images_in_progress]
        named = [f"{path} (for {seconds:.0f} s)" for path, seconds in sorted(entries, key=lambda entry: -entry[1])]
        images = ", ".join(named[:_MAX_NAMED]) + (", ..." if len(named) > _MAX_NAMED else "")
        return (
            f"the workers of a data loader returned no batch for {self.batch_timeout:.0f} s; they are loading "
            f"{images or 'no image'}. If such an image only needs longer, set the loader's `timeout` (seconds, 0 for "
            "none)"
        )

    def _terminate_workers(self, iterator: Any) -> None:
        """Shut the workers down as torch does at the end of an iteration, and kill those that hang."""
        workers = _own_workers(iterator)
        if not workers:
            return
        iterator._shutdown_workers()
        _kill(workers)
        # torch would reuse this iterator if its workers were persistent.
        self._iterator = None


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """The datasets inside any `ConcatDataset`, `RepeatDataset` or `ClassBalancedDataset`, or the dataset itself."""
    if hasattr(dataset, "datasets"):
        for part in dataset.datasets:
            yield from inner_datasets(part)
    elif hasattr(dataset, "dataset"):
        yield from inner_datasets(dataset.dataset)
    else:
        yield dataset


def image_paths(dataset: Any) -> Iterator[str]:
    """The image files of the datasets inside a dataset, as far as they name them in `get_data_info`."""
    for inner in inner_datasets(dataset):
        if hasattr(inner, "get_data_info"):
            infos = map(inner.get_data_info, range(len(inner)))
            yield from (info["img_path"] for info in infos if "img_path" in info)


def set_worker_options(config: Any) -> None:
    """Set a `timeout` in a config's loaders that have workers and none; drop what torch rejects without workers."""
    for split in ("train", "val", "test"):
        loader = config.get(f"{split}_dataloader")
        if loader and loader.get("num_workers"):
            loader.setdefault("timeout", TIMEOUT_SECONDS)
        elif loader:
            for option in ("timeout", "persistent_workers", "prefetch_factor"):
                loader.pop(option, None)


def _own_workers(iterator: Any) -> list[Any]:
    """The worker processes of a loader's iterator that this process started; a fork inherits the iterator."""
    return [worker for worker in getattr(iterator, "_workers", ()) if worker._parent_pid == os.getpid()]


def _raise_if_dead(workers: Iterable[Any], error: Exception) -> None:
    """Raise torch's error for a dead worker: the broken pipe is seen before the exit status."""
    for worker in workers:
        worker.join(_JOIN_SECONDS)
        if not worker.is_alive():
            raise RuntimeError(f"DataLoader worker (pid {worker.pid}) exited unexpectedly") from error


def _kill(workers: Iterable[Any]) -> None:
    for worker in workers:
        if worker._parent_pid == os.getpid() and worker.is_alive():
            worker.kill()
            worker.join()


_started: WeakSet[Any] = WeakSet()
# At exit Python waits for its child processes, and these do not end at once on its SIGTERM.
atexit.register(lambda: _kill(list(_started)))


def _init_worker(worker: int, *, inner: Callable[[int], None] | None) -> None:
    """Let a worker survive Ctrl-C, and SIGTERM for a while, then call the loader's own `worker_init_fn`.

    Terminals, launchers and schedulers send these signals to all processes. Workers that exit at once would keep the
    training from finishing its step and saving. The loader terminates its workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit_after_grace_period)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if inner is not None:
        inner(worker)


def _exit_after_grace_period(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_WORKER_GRACE_SECONDS)


@contextmanager
def _sigterm_blocked(*, enabled: bool) -> Iterator[None]:
    """Block SIGTERM inside the context; forked processes inherit the block."""
    if not enabled:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
