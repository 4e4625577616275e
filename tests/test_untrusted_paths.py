"""Pipes and devices in the place of a file of each kind: one line, no waiting, no flood of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from solo.checkpoints import load_checkpoint
from solo.datasets import check_coco_file
from solo.errors import UserError, missing_file_message, printable
from tests.helpers.limits import run_limited
from tests.helpers.odd_files import make_endless


@pytest.mark.parametrize("kind", ["fifo", "device"])
@pytest.mark.parametrize(("read", "suffix"), [(load_checkpoint, ".pth"), (check_coco_file, ".json")])
def test_only_regular_files_are_read(tmp_path: Path, read: Callable[..., Any], suffix: str, kind: str) -> None:
    path = make_endless(tmp_path / f"odd{suffix}", kind)

    def outcome() -> str:
        with pytest.raises(UserError) as caught:
            read(path)
        return str(caught.value)

    assert run_limited(outcome, seconds=5).endswith(f"{path} is not a regular file")


def test_messages_hold_no_control_characters(tmp_path: Path) -> None:
    assert printable("\x1b[2J a\n日本 \udcff") == "\\x1b[2J a\\n日本 \\udcff"
    (tmp_path / "a\x1b[1m.py").touch()
    message = missing_file_message(tmp_path / "a\x1b[2m.py", kind="config")
    assert message.endswith("a\\x1b[2m.py does not exist (did you mean 'a\\x1b[1m.py'?)")
