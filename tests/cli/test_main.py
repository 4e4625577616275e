"""The subcommands of `solo`: their registry, help, and how a wrong name is reported."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import solo
from solo.cli import SUBCOMMANDS, Subcommand, main
from tests.helpers.paths import ROOT


def modules(subcommands: Mapping[str, Subcommand], *names: str) -> Iterator[tuple[str, ...]]:
    """The names of every subcommand, nested ones too."""
    for name, subcommand in subcommands.items():
        nested = getattr(importlib.import_module(subcommand.module), "SUBCOMMANDS", {})
        yield from modules(nested, *names, name) if nested else [(*names, name)]


@pytest.mark.parametrize("names", list(modules(SUBCOMMANDS)), ids=" ".join)
def test_help_of_each_subcommand(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*names, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: solo {' '.join(names)} ")


@pytest.mark.parametrize("words", [[], ["--help"]], ids=["nothing", "help"])
def test_list_of_subcommands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main(words) == 0
    except SystemExit as ended:
        assert ended.code == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and summary in out for name, (_, summary) in SUBCOMMANDS.items())


def test_nested_subcommands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: solo data ") and "  check " in out and "  subset " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "a.py"], "error: solo has no subcommand 'trian' (did you mean 'train'?); see solo --help\n"),
        (["data", "chek"], "error: solo data has no subcommand 'chek' (did you mean 'check'?); see solo data --help\n"),
    ],
)
def test_unknown_subcommand(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == message


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--verison"])
    assert caught.value.code == 2
    assert "--verison" in capsys.readouterr().err


def test_names_and_versions_are_told_without_torch(tmp_path: Path) -> None:
    code = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('solo', run_name='__main__')"
    for option, expected in [("--version", f"solo {solo.__version__}\n"), ("--help", "subcommands:")]:
        done = subprocess.run(
            [sys.executable, "-c", code, option],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout


def test_scripts_are_the_subcommands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["tools/subset_coco.py", "--help"])
    from solo.cli import run_script

    with pytest.raises(SystemExit):
        run_script("data", "subset")
    assert capsys.readouterr().out.startswith("usage: subset_coco.py ")


def test_registered_modules_have_what_the_command_needs() -> None:
    for names in modules(SUBCOMMANDS):
        subcommands: Mapping[str, Subcommand] = SUBCOMMANDS
        for name in names:
            module = importlib.import_module(subcommands[name].module)
            subcommands = getattr(module, "SUBCOMMANDS", {})
        assert module.__doc__
        module.add_arguments(argparse.ArgumentParser())
        assert callable(module.run)
