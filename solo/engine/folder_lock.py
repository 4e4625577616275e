"""A lock on a work folder: two trainings would overwrite each other's checkpoints."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solo.errors import ConfigError

NAME = ".training.lock"


@contextmanager
def folder_lock(folder: str | os.PathLike[str], *, enabled: bool = True) -> Iterator[None]:
    """Lock a work folder for this process. The system releases the lock when the process ends, however it ends.

    The lock is a record lock, which forked data workers do not inherit: one that outlives its training holds nothing.
    Without such locks (Windows, some network disks) the folder is not locked.

    Args:
        folder: an existing folder.
        enabled: False in all processes of a job but the first.

    Raises:
        ConfigError: another process has locked the folder.
    """
    try:
        import fcntl
    except ImportError:
        enabled = False
    if not enabled:
        yield
        return
    with Path(folder, NAME).open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise ConfigError(
                    f"work folder {folder} is in use by another training ({file.read(200).strip()}): stop that one, or "
                    "give this one a folder of its own with --work-dir"
                ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
