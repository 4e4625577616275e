"""How a command ends: exit codes, and errors on one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from solo.errors import UserError, printable

USER_ERROR_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command. User errors print one line and exit with code 2; a traceback is a bug.

    Args:
        main: the command; returns its exit code, None for success.
    """
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE


def _message(error: UserError) -> str:
    """The message in printable characters, without the text that torch puts before errors of worker processes."""
    message = re.split(rf"^[\w.]*{type(error).__name__}: ", str(error), flags=re.MULTILINE)[-1].strip()
    return "\n".join(map(printable, message.split("\n")))
