"""Load a config: read the file and its bases, apply overrides, check the result."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from solo.config.check import check_config, check_override
from solo.errors import ConfigError, missing_file_message


def load_config(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, apply overrides, check the result. No global state changes.

    Args:
        path: Config in mmengine's text style.
        overrides: Values by dotted key path, as `--cfg-options` gives them.

    Returns:
        The config with everything that it inherits.

    Raises:
        ConfigError: The file is missing or cannot be read, or a key or a `type` is unknown.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigError(missing_file_message(path, kind="config"))
    try:
        with _mmengine_warnings_only():
            config = Config.fromfile(path)
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


@contextlib.contextmanager
def _mmengine_warnings_only() -> Iterator[None]:
    """Suppress mmengine's remarks on standard output about environment variables, where configs are printed too."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _locate_error(error: BaseException, path: Path) -> str:
    """`FILE, line N` of an error in a config or one of its bases, as far as the traceback tells."""
    file, line = str(path), getattr(error, "lineno", None)
    traceback = error.__traceback__
    while traceback is not None:
        code, variables = traceback.tb_frame.f_code, traceback.tb_frame.f_locals
        if code.co_name in ("_file2dict", "_is_lazy_import"):  # mmengine's functions that read one file
            file = str(variables.get("filename", file))
        elif os.path.abspath(file) == code.co_filename:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f"{file}, line {line}" if line else file
