"""Load a config: read the file and its bases, apply overrides, check the result."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from solo.config.check import check_config, check_override
from solo.config.names import SUFFIXES, find_config, unknown_name_message
from solo.errors import ConfigError, missing_file_message

_LAZY_NAMES = ("read_base", "LazyCall")
# mmengine's form for environment variables, which pastes their values into the code of the config.
_SUBSTITUTION = re.compile(r"\{\{\s*['\"]?\s*\$(\w*)\s*:?\s*([^\s'\"}]*)")


def load_config(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, apply overrides, check the result. No global state changes.

    Args:
        path: Config in mmengine's text style, or the name of one that comes with solo (`solo.config.names`); so are its
            bases. Environment variables are read with `os.environ` alone.
        overrides: Values by dotted key path, as `--cfg-options` gives them.

    Returns:
        The config with everything that it inherits.

    Raises:
        ConfigError: The file is missing or cannot be read, or a key or a `type` is unknown.
    """
    path = find_config(path)
    try:
        config_files(path)
        config = Config.fromfile(path, use_environment_variables=False, lazy_import=False)
    except ConfigError:
        raise
    except Exception as error:  # a config is code, which may raise anything
        raise ConfigError(f"config {_locate_error(error, path)}: {type(error).__name__}: {error}") from error
    if overrides:
        for key_path in overrides:
            check_override(config, key_path)
        try:
            config.merge_from_dict(dict(overrides))
        except (TypeError, KeyError, IndexError) as error:
            raise ConfigError(f"override of {', '.join(overrides)}: {error}") from error
    check_config(config)
    return config


def configured_class_names(config: Config) -> Sequence[str] | None:
    """Class names that a config gives its datasets; None when they come from the annotation file."""
    for key in ("test_dataloader", "val_dataloader", "train_dataloader"):
        dataset = (config.get(key) or {}).get("dataset") or {}
        names = dataset.get("classes") or (dataset.get("metainfo") or {}).get("classes")
        if names:
            return names
    return None


def config_files(path: str | os.PathLike[str]) -> list[str]:
    """List a config file and all that it inherits from: what a command that loads it must never replace.

    Raises:
        ConfigError: One is no regular file, substitutes environment variables, or is written in mmengine's lazy style.
    """
    filename = os.path.expanduser(path)
    if not os.path.isfile(filename):
        raise ConfigError(missing_file_message(filename, kind="config"))
    text = Path(filename).read_text(encoding="utf-8")
    if found := _SUBSTITUTION.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(
            f"config {filename}, line {line}: {{{{${found[1]}...}}}} would run the value of an environment variable as "
            f"code; write `import os` and os.environ.get({found[1]!r}) or {found[2]!r} instead"
        )
    if filename.endswith(".py"):
        _check_style(ast.parse(text), filename)  # the SyntaxError has the line, unlike mmengine's
    files = [filename]
    for base in Config._get_base_files(filename):
        base_file = Config._get_cfg_path(base, filename)[0]  # finds names too, see solo.compat
        if not base_file.endswith(SUFFIXES) and not os.path.exists(base_file):
            raise ConfigError(f"config {filename}: _base_: {unknown_name_message(base)}")
        files += config_files(base_file)
    return files


def _check_style(code: ast.Module, filename: str) -> None:
    """Refuse mmengine's lazy style: bases and classes that are imported."""
    for node in ast.walk(code):
        if not isinstance(node, (ast.Name, ast.ImportFrom)):
            continue
        if isinstance(node, ast.ImportFrom):
            is_lazy = node.level > 0 or any(alias.name in _LAZY_NAMES for alias in node.names)
        else:
            is_lazy = node.id in _LAZY_NAMES
        if is_lazy:
            raise ConfigError(
                f"config {filename}, line {node.lineno}: lazy configs (read_base, LazyCall, relative imports) are not "
                "read, only text-style ones: write _base_ = ['./base.py'] and dict(type='NameOfClass', ...) instead"
            )


def _locate_error(error: BaseException, path: Path) -> str:
    """`FILE, line N` of an error in a config or one of its bases, as far as the traceback tells."""
    file, line = str(path), getattr(error, "lineno", None)
    traceback = error.__traceback__
    while traceback is not None:
        code, variables = traceback.tb_frame.f_code, traceback.tb_frame.f_locals
        if code.co_name in ("_file2dict", "config_files"):  # they read one file
            file = str(variables.get("filename", file))
        elif os.path.abspath(file) == code.co_filename:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f"{file}, line {line}" if line else file
