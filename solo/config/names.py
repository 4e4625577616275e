"""The configs that come with solo, and how they are found by name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from solo.errors import ConfigError, suggestion

_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel configs/ is installed inside the package; in a clone it is beside it.
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
SUFFIXES = (".py", ".json", ".yaml", ".yml")


def config_folder() -> Path:
    """The folder of the configs that come with solo.

    Raises:
        ConfigError: the installation is incomplete.
    """
    for folder in _FOLDERS:
        if (folder / "_base_").is_dir():
            return folder
    raise ConfigError(f"the configs of solo are not installed: there is no folder {_FOLDERS[0]}; install solo again")


def list_configs() -> dict[str, Path]:
    """Name -> file of every complete config, in the order of folders and files.

    A name is the file's, without folder and suffix. Where several folders have the file, it is that of the folder whose
    name the file's begins with (`solov2/solov2_...`), and the others are called `FOLDER/NAME`.
    """
    files = sorted(file for file in config_folder().glob("*/*.py") if not file.parent.name.startswith("_"))
    namesakes: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        namesakes[file.stem].append(file)
    return {_name(file, namesakes[file.stem]): file for file in files}


def find_config(name: str | os.PathLike[str]) -> Path:
    """The file that a path or a name stands for: an existing file, else `NAME` or `FOLDER/NAME` of `list_configs`.

    A path to no file is returned as it is when it cannot be a name, for the caller to report.

    Raises:
        ConfigError: there is neither a file nor a config of this name; the message has the nearest names.
    """
    path = Path(name).expanduser()
    if path.is_file() or path.suffix in SUFFIXES:
        return path
    found = find_by_name(os.fspath(name))
    if found is None and path.exists():
        return path
    if found is None:
        raise ConfigError(unknown_name_message(os.fspath(name)))
    return found


def find_by_name(name: str) -> Path | None:
    """The config of this name, with or without its folder; None if there is none."""
    configs = list_configs()
    return configs.get(name) or _by_folder(configs).get(name)


def unknown_name_message(name: str) -> str:
    """What is wrong with a name that no config has, and the nearest one."""
    configs = list_configs()
    known = _by_folder(configs) if "/" in name else configs
    return (
        f"config {name!r} is neither a file nor the name of a config of solo{suggestion(name, known)}; "
        "`solo config --list` prints the names"
    )


def _by_folder(configs: Mapping[str, Path]) -> dict[str, Path]:
    return {f"{file.parent.name}/{file.stem}": file for file in configs.values()}


def _name(file: Path, namesakes: Sequence[Path]) -> str:
    own = [other for other in namesakes if other.stem.partition("_")[0].partition("-")[0] == other.parent.name]
    is_plain = len(namesakes) == 1 or own == [file]
    return file.stem if is_plain else f"{file.parent.name}/{file.stem}"
