"""`python -m solo` is the `solo` command."""

from __future__ import annotations

import sys

from solo.cli import main

if __name__ == "__main__":
    sys.exit(main())
