"""`solo config`: print, list, copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from solo.cli import main
from solo.config import load_config
from solo.config.names import list_configs

NANO = "solov2-nano_shapes"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == list(list_configs())


def test_print_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", NANO, "--cfg-options", "model.num_classes=7"]) == 0
    Path("printed.py").write_text(capsys.readouterr().out)
    assert load_config("printed.py").to_dict() == load_config(NANO, {"model.num_classes": 7}).to_dict()


@pytest.mark.parametrize("options", [[], ["--full"]], ids=["inherits", "full"])
def test_copy(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", NANO, "--copy", "my.py", *options]) == 0
    assert "solo train my.py" in capsys.readouterr().out
    assert load_config("my.py").to_dict() == load_config(NANO).to_dict()
    assert ("_base_" in Path("my.py").read_text()) == (not options)


def test_copy_of_a_file_inherits_by_a_relative_path() -> None:
    Path("configs").mkdir()
    Path("configs/mine.py").write_text(f"_base_ = {NANO!r}\nmodel = dict(num_classes=9)\n")
    assert main(["config", "configs/mine.py", "--copy", "child.py"]) == 0
    assert '_base_ = "configs/mine.py"' in Path("child.py").read_text()
    assert load_config("child.py").model.num_classes == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a config file or a name"),
        ([NANO, "--copy", "old.py"], "old.py exists already"),
        (["old.py", "--copy", "old.py", "--overwrite"], "a file that this command reads"),
        ([NANO, "--copy", "my"], "ends with .py"),
        ([NANO, "--copy", "nowhere/my.py"], "there is no folder nowhere"),
        ([NANO, "--copy", "my.py", "--cfg-options", "model.num_classes=2"], "with --full only"),
        (["solov2-nano_shape", "--copy", "my.py"], "did you mean 'solov2-nano_shapes'?"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("old.py").write_text("a = 1\n")
    assert main(["config", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert Path("old.py").read_text() == "a = 1\n" and not Path("my.py").exists()


def test_overwrite() -> None:
    Path("my.py").write_text("a = 1\n")
    assert main(["config", NANO, "--copy", "my.py", "--overwrite"]) == 0
    assert load_config("my.py").to_dict() == load_config(NANO).to_dict()
