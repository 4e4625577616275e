"""`solo export` for a clone."""

from __future__ import annotations

import sys

from solo.cli import run_script


def main() -> int:
    """Run the subcommand with the words of the process."""
    return run_script("export")


if __name__ == "__main__":
    sys.exit(main())
