"""Exit codes, and errors on one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from solo.cli.running import run_command
from solo.errors import UserError
from tests.helpers.commands import start_module


def fail() -> None:
    raise UserError("photo.jpg: is no image")


def interrupt() -> None:
    raise KeyboardInterrupt


def test_user_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(fail) == 2
    assert capsys.readouterr().err == "error: photo.jpg: is no image\n"


def test_names_from_files_are_printed_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    def fail_at_a_hostile_name() -> None:
        raise UserError("a\x1b[2J\x07\u202e\udc80\r.jpg: is no image\nsecond line")

    assert run_command(fail_at_a_hostile_name) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: a") and message.endswith(".jpg: is no image\nsecond line\n")
    assert not set(message) & set("\x1b\x07\u202e\udc80\r")


def test_exit_codes() -> None:
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 1) == 1
    assert run_command(interrupt) == 130


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path) -> None:
    with start_module("solo", "config", "--list", folder=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.close()  # before the names are printed, as by `| head` later
        errors = process.stderr.read() if process.stderr else ""
        process.wait(timeout=100)
    assert (process.returncode, errors) == (141, "")
