"""Print a config with everything that it inherits, list the configs that come with solo, or start one of your own."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from solo.cli.options import add_config_options
from solo.cli.result_options import add_overwrite_option
from solo.config import load_config
from solo.config.copying import inheriting_text
from solo.config.names import find_config, list_configs
from solo.errors import ConfigError, OutputError
from solo.output_files import check_outputs, write_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep mmdet's spelling where mmdet has them."""
    parser.add_argument("config", nargs="?", help="config file, or the name of a config")
    parser.add_argument("--list", action="store_true", help="print the names of the configs that come with solo")
    parser.add_argument(
        "--copy",
        metavar="FILE",
        help="write a config of your own: it inherits CONFIG and repeats what is commonly changed",
    )
    parser.add_argument("--full", action="store_true", help="with --copy: write all values, inherit nothing")
    add_overwrite_option(parser)
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Check and print, list, or copy.

    Raises:
        ConfigError: no config is given, or it cannot be used.
        OutputError: the copy would replace a file, or has no folder.
    """
    if arguments.list:
        print("\n".join(list_configs()))
        return
    if arguments.config is None:
        raise ConfigError("solo config: expected a config file or a name; `solo config --list` prints the names")
    config = load_config(arguments.config, overrides=arguments.cfg_options)
    if arguments.copy is None:
        print(config.pretty_text, end="")
        return
    if arguments.cfg_options and not arguments.full:
        raise ConfigError("--copy writes values of --cfg-options with --full only; without it, edit the written file")
    target = Path(arguments.copy)
    _check_target(target, source=find_config(arguments.config), overwrite=arguments.overwrite)
    text = config.pretty_text if arguments.full else inheriting_text(config, base=_base(arguments.config, target))
    write_output(target, text.encode())
    relation = "has all of" if arguments.full else "inherits"
    print(f"{target} {relation} {arguments.config}; edit it, then: solo train {target}")


def _check_target(target: Path, *, source: Path, overwrite: bool) -> None:
    if target.suffix != ".py":
        raise OutputError(f"--copy {target}: the name of a config ends with .py")
    if not target.parent.is_dir():
        raise OutputError(f"--copy {target}: there is no folder {target.parent}")
    check_outputs([target], overwrite=overwrite, inputs=[source])


def _base(config: str, target: Path) -> str:
    """How the copy names its base: by name, or by a path relative to the copy."""
    if not Path(config).expanduser().exists():
        return config
    return Path(os.path.relpath(Path(config).expanduser().resolve(), target.parent.resolve())).as_posix()
