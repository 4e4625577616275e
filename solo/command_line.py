"""What the commands share: options with mmdet's spelling, and how a user's mistake ends."""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mmengine.config import DictAction

from solo.deployment import DeploymentOptions
from solo.engine.malloc import keep_freed_memory
from solo.errors import ConfigError, UserError

USER_ERROR_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130


class ConfigOptions(DictAction):
    """`KEY=VALUE` words as mmengine reads them, but spaces of a value stay, and what cannot be read is an error."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store the values by key; a repeated option adds to what is there."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for word in values:
            key, is_pair, text = word.partition("=")
            if not key or not is_pair:
                parser.error(f"{option_string} {word}: expected KEY=VALUE, without spaces beside the equals sign")
            try:
                options[key] = self._value(text)
            except AssertionError as error:  # of mmengine, about brackets
                parser.error(f"{option_string} {word}: {error}")
            except RecursionError:  # of mmengine, about commas in a call
                parser.error(f"{option_string} {word}: no Python literal; a dict is written {{'key': value}}")
        setattr(namespace, self.dest, options)

    def _value(self, text: str) -> Any:
        """A Python literal in brackets or quotes as such; else a list at commas, a number, a truth value or a text."""
        if text.startswith(("[", "(", "{", "'", '"')):
            with contextlib.suppress(SyntaxError, ValueError):
                return ast.literal_eval(text)
        if not set(text) & set(",[]()"):
            return self._parse_int_float_bool(text)
        return self._parse_iterable(text)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options`: config values by dotted key, lists as `a,b` or `[a,b]`."""
    parser.add_argument(
        "--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE", help="change values of the config"
    )


def add_deployment_options(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add `--deploy`: how the network is run, in the form that `chosen_deployment` reads."""
    parser.add_argument(
        "--deploy",
        nargs="+",
        metavar="KEY=VALUE",
        help="run the network with these deployment options (fold_norms, channels_last, pack_weights, compile, "
        "cuda_graphs, dtype, threads); 'auto' for those recommended, 'none' for none "
        f"(default: {default})",
        default=[default],
    )


def chosen_deployment(words: Sequence[str]) -> DeploymentOptions | None:
    """What `--deploy` says; None for what is recommended on the device.

    Raises:
        ConfigError: a word is no KEY=VALUE, or an option is unknown.
    """
    if list(words) == ["auto"]:
        return None
    if list(words) == ["none"]:
        return DeploymentOptions()
    values: dict[str, Any] = {}
    for word in words:
        key, is_pair, text = word.partition("=")
        if not is_pair:
            raise ConfigError(f"--deploy {word}: expected KEY=VALUE pairs, or 'auto' or 'none' alone")
        try:
            values[key] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            values[key] = text
    return DeploymentOptions.from_mapping(values)


def score(text: str) -> float:
    """A score, as `type` of an option.

    Raises:
        argparse.ArgumentTypeError: it is no number from 0 to 1.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a score from 0 to 1, came {text}")
    return value


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add `--launcher`, and the `--local-rank` that old launchers pass."""
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="who starts the processes"
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def set_local_rank(arguments: argparse.Namespace) -> None:
    """Hand the rank of an old launcher on, as newer launchers do, by the environment."""
    os.environ.setdefault("LOCAL_RANK", str(arguments.local_rank))


def run_command(main: Callable[[], int | None], *, keep_memory: bool = True) -> int:
    """Run a command; a `UserError` becomes `error: ...` on stderr and exit code 2.

    Args:
        main: the command; it returns its exit code, None for success.
        keep_memory: whether the process keeps freed memory (`keep_freed_memory`).
    """
    if keep_memory:
        keep_freed_memory()
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE


def _message(error: UserError) -> str:
    """The message alone: one that comes from a loader's worker process has torch's account of it in front."""
    return re.split(rf"^[\w.]*{type(error).__name__}: ", str(error), flags=re.MULTILINE)[-1].strip()
