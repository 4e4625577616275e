"""How a command ends: exit codes, and errors on one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from solo.errors import UserError, printable

USER_ERROR_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130
BROKEN_PIPE_EXIT_CODE = 141


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command. User errors print one line and exit with code 2, a closed pipe ends it; a traceback is a bug.

    Args:
        main: the command; returns its exit code, None for success.
    """
    try:
        code = main() or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # The reader has left, as in `solo config --list | head`. At exit Python flushes again: let it succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_EXIT_CODE


def _message(error: UserError) -> str:
    """The message in printable characters, without the text that torch puts before errors of worker processes."""
    message = re.split(rf"^[\w.]*{type(error).__name__}: ", str(error), flags=re.MULTILINE)[-1].strip()
    return "\n".join(map(printable, message.split("\n")))
