"""Train, evaluate and run SOLOv2 models.

The `solo` command: each subcommand is a module, imported when it is asked for. A module has a docstring, its help text,
and either `add_arguments(parser)` and `run(arguments)`, which returns the exit code (None for 0), or `SUBCOMMANDS`, a
dict like the one below. A new subcommand is a module and an entry of the dict; a script of `tools/` is optional.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from solo import __version__
from solo.cli.running import run_command
from solo.errors import UserError, suggestion


class Subcommand(NamedTuple):
    """Where a subcommand is, and what `--help` of its parent says about it."""

    module: str
    summary: str


SUBCOMMANDS = {
    "train": Subcommand("solo.cli.train", "train a model"),
    "test": Subcommand("solo.cli.test", "evaluate a checkpoint: mask AP and box AP"),
    "compare": Subcommand("solo.cli.compare", "compare the detections of two models, with intervals"),
    "predict": Subcommand("solo.cli.predict", "find the instances of image files"),
    "serve": Subcommand("solo.cli.serve", "serve a model as a web page and a REST API"),
    "export": Subcommand("solo.cli.export", "export a checkpoint to ONNX, OpenVINO or torch.export"),
    "publish": Subcommand("solo.cli.publish", "write a model's weights, config and card into a folder"),
    "config": Subcommand("solo.cli.config", "print, list or copy configs"),
    "data": Subcommand("solo.cli.data", "check, count, tune, split, merge and browse data sets"),
    "convert": Subcommand("solo.cli.convert", "convert weights of other implementations"),
    "benchmark": Subcommand("solo.cli.benchmark", "measure speed and memory"),
    "flops": Subcommand("solo.cli.flops", "count parameters and operations of a model"),
    "doctor": Subcommand("solo.cli.doctor", "versions, devices, and what is missing"),
    "demo": Subcommand("solo.cli.demo", "train on generated shapes, evaluate, visualise"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run `solo WORDS` and return its exit code; None for the words of the process."""
    return run_command(lambda: _run(list(sys.argv[1:] if words is None else words)))


def run_script(*names: str) -> int:
    """Run a subcommand, given by its names, as a script of `tools/`: with the words and the name of the process."""
    subcommands: Mapping[str, Subcommand] = SUBCOMMANDS
    for name in names:
        module = _import(subcommands[name].module)
        subcommands = getattr(module, "SUBCOMMANDS", {})
    return run_command(lambda: _run_module(module, sys.argv[1:], prog=Path(sys.argv[0]).name))


def _run(words: list[str]) -> int | None:
    """Follow the names of subcommands to a module and run it; without a name, print the help.

    Raises:
        UserError: there is no subcommand of that name.
    """
    prog, description = "solo", (__doc__ or "").partition("\n")[0]
    subcommands: Mapping[str, Subcommand] = SUBCOMMANDS
    while subcommands:
        if not words or words[0].startswith("-"):
            _describe(subcommands, words, prog=prog, description=description)
            return None
        name = words.pop(0)
        if name not in subcommands:
            raise UserError(f"{prog} has no subcommand {name!r}{suggestion(name, subcommands)}; see {prog} --help")
        module = _import(subcommands[name].module)
        prog, description = f"{prog} {name}", module.__doc__ or ""
        subcommands = getattr(module, "SUBCOMMANDS", {})
    return _run_module(module, words, prog=prog)


def _import(name: str) -> ModuleType:
    """Import a module of a subcommand.

    Raises:
        UserError: a package that it needs is missing or broken.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # an OSError: a library of torch that cannot be loaded
        if (getattr(error, "name", None) or "").partition(".")[0] == "solo":
            raise
        reason = str(error).partition("\n")[0]
        raise UserError(f"a package that solo needs is missing or broken: {reason}; `solo doctor` says more") from error


def _run_module(module: ModuleType, words: Sequence[str], *, prog: str) -> int | None:
    parser = argparse.ArgumentParser(prog=prog, description=module.__doc__)
    module.add_arguments(parser)
    code: int | None = module.run(parser.parse_args(words))
    return code


def _describe(subcommands: Mapping[str, Subcommand], words: Sequence[str], *, prog: str, description: str) -> None:
    """Handle `--help`, `--version` and unknown options; without words, print the help."""
    width = max(map(len, subcommands))
    lines = [f"  {name:{width}}  {subcommand.summary}" for name, subcommand in subcommands.items()]
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [-h] SUBCOMMAND ...",
        description=description,
        epilog="\n".join(["subcommands:", *lines, "", f"`{prog} SUBCOMMAND --help` lists the options of each."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if subcommands is SUBCOMMANDS:
        parser.usage = f"{prog} [-h] [--version] SUBCOMMAND ..."
        parser.add_argument("--version", action="version", version=f"solo {__version__}")
    parser.parse_args(words)
    parser.print_help()
