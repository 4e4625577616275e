"""Options that several subcommands share, with mmdet's spelling.

Imports no torch: exported files are run without it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from solo.errors import ConfigError
from solo.runtime.sessions import RuntimeOptions

if TYPE_CHECKING:
    from solo.deployment import DeploymentOptions


class ConfigOptions(argparse.Action):
    """Parse `KEY=VALUE` words like mmengine, but keep spaces in values and report words that cannot be parsed."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store the values by key; a repeated option adds to the earlier ones."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for word in values:
            key, is_pair, text = word.partition("=")
            if not key or not is_pair:
                parser.error(f"{option_string} {word}: expected KEY=VALUE, without spaces beside the equals sign")
            try:
                options[key] = self._value(text)
            except ModuleNotFoundError as error:  # solo was installed for exported files alone
                parser.error(f"{option_string} changes configs, which need {error.name}: pip install solov2")
            except AssertionError as error:  # mmengine's, about brackets
                parser.error(f"{option_string} {word}: {error}")
            except RecursionError:  # mmengine's, about commas in a call
                parser.error(f"{option_string} {word}: not a Python literal; a dict is written {{'key': value}}")
        setattr(namespace, self.dest, options)

    def _value(self, text: str) -> Any:
        """Parse a bracketed or quoted Python literal; else a comma-separated list, a number, a bool or a string."""
        from mmengine.config import DictAction

        if text.startswith(("[", "(", "{", "'", '"')):
            with contextlib.suppress(SyntaxError, ValueError):
                return ast.literal_eval(text)
        if not set(text) & set(",[]()"):
            return DictAction._parse_int_float_bool(text)
        return DictAction._parse_iterable(text)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options`: config values by dotted key, lists as `a,b` or `[a,b]`."""
    parser.add_argument(
        "--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE", help="change values of the config"
    )


def add_deployment_options(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add `--deploy`: options for running the network, parsed by `parse_deployment`."""
    parser.add_argument(
        "--deploy",
        nargs="+",
        metavar="KEY=VALUE",
        help="run the network with these deployment options (fold_norms, channels_last, pack_weights, compile, "
        "dtype, threads; for an exported file threads, precision); 'auto' for those recommended, 'none' for none "
        f"(default: {default})",
        default=[default],
    )


def parse_deployment(words: Sequence[str]) -> DeploymentOptions | None:
    """Parse the words of `--deploy`; None stands for the recommended options of the device.

    Raises:
        ConfigError: a word is not KEY=VALUE, or an option is unknown.
    """
    from solo.deployment import DeploymentOptions

    if list(words) == ["auto"]:
        return None
    if list(words) == ["none"]:
        return DeploymentOptions()
    return DeploymentOptions.from_mapping(_parse_pairs(words))


def parse_runtime_options(words: Sequence[str]) -> RuntimeOptions | None:
    """Parse the words of `--deploy` for an exported file; None, of "auto" and "none", stands for the defaults.

    Raises:
        ConfigError: a word is not KEY=VALUE, or an option is unknown.
    """
    return None if list(words) in (["auto"], ["none"]) else RuntimeOptions.from_mapping(_parse_pairs(words))


def _parse_pairs(words: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in words:
        key, is_pair, text = word.partition("=")
        if not is_pair:
            raise ConfigError(f"--deploy {word}: expected KEY=VALUE pairs, or 'auto' or 'none' alone")
        try:
            values[key] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            values[key] = text
    return values


def add_offline_option(parser: argparse.ArgumentParser) -> None:
    """Add `--offline`, for commands that take checkpoints; `set_offline` applies it."""
    parser.add_argument(
        "--offline", action="store_true", help="download nothing: hf://... checkpoints come from the Hub's cache"
    )


def set_offline(arguments: argparse.Namespace) -> None:
    """Keep to the cache of the Hub if `--offline` was given."""
    if arguments.offline:
        from solo.checkpoints.hub import OFFLINE_VARIABLE

        os.environ[OFFLINE_VARIABLE] = "1"


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add `--launcher`, and `--local-rank`, which old launchers pass."""
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="who starts the processes"
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def set_local_rank(arguments: argparse.Namespace) -> None:
    """Set `LOCAL_RANK` from the option of an old launcher, as newer launchers do themselves."""
    os.environ.setdefault("LOCAL_RANK", str(arguments.local_rank))
