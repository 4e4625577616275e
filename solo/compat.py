"""All patches of the OpenMMLab packages; after `import solo` they are applied when mmengine is first imported.

| patch | why | until |
|---|---|---|
| `_MissingExtensionFinder` | mmdet imports `mmcv.ops`; mmcv-lite has no compiled `mmcv._ext` | mmdet > 3.3.0 |
| `_load_safely` | mmengine unpickles checkpoints, which can run code, and downloads them | mmengine > 0.10.7 |
| `_save_atomically` | mmengine writes checkpoints in place; a kill leaves a truncated file | mmengine > 0.10.7 |
| `is_installed`, `get_installed_path` | mmengine needs `pkg_resources` (removed in setuptools 82) | mmengine > 0.10.7 |
| `collect_env` | mmengine needs `distutils` (removed in Python 3.12) and setuptools | mmengine > 0.10.7 |
| `_find_bases_by_name` | `_base_` may be the name of a config that comes with solo | - |
| `mmcv_full_available` | mmengine needs `pkgutil.find_loader` (removed in Python 3.14) | mmengine > 0.10.7 |
| `_silence_warnings` | mmengine warns about its own classes and about scopes without a registry | mmengine > 0.10.7 |
| `_import_quietly` | what mmengine imports of torch 2.4 warns on every start | torch > 2.4 |

The versions are the newest ones, which still need the patch. `build_errors` reads the frames of mmengine's builders; it
patches nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import reprlib
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch

from solo.errors import CheckpointError, ConfigError

OPENMMLAB_PACKAGES = ("mmengine", "mmcv", "mmdet")
MMCV_EXTENSION = "mmcv._ext"


def apply() -> None:
    """Apply all patches. A second call changes nothing."""
    if any(isinstance(finder, _MissingExtensionFinder) for finder in sys.meta_path):
        return
    sys.meta_path.append(_MissingExtensionFinder())
    _import_quietly()
    _load_safely()
    _save_atomically()
    _replace("mmengine.utils.package_utils", "is_installed", is_installed)
    _replace("mmengine.utils.package_utils", "get_installed_path", get_installed_path)
    _replace("mmengine.utils.dl_utils.collect_env", "collect_env", collect_env)
    _replace("mmengine.utils.dl_utils.misc", "mmcv_full_available", mmcv_full_available)
    _find_bases_by_name()
    _silence_warnings()


# ---------------------------------------------------------------------------------------------- --- compiled operators
class _MissingExtensionFinder(MetaPathFinder):
    """Finds a placeholder for `mmcv._ext`. It is last on `sys.meta_path`: a compiled extension is found first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _MissingExtensionLoader()) if fullname == MMCV_EXTENSION else None


class _MissingExtensionLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _MissingExtension(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: the module is complete as created."""


class _MissingExtension(types.ModuleType):
    """Has an attribute for every operator; calling it raises an ImportError that says what to install."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def operator(*args: object, **kwargs: object) -> None:
            raise ImportError(
                f"mmcv's compiled operator `{name}` is not available: mmcv-lite is installed, which has none. "
                "Replace it by a build of the full mmcv 2.1 that matches your torch "
                "(pip uninstall mmcv-lite && pip install mmcv==2.1.0)."
            )

        operator.__name__ = name
        return operator


# ---------------------------------------------------------------------------------------------------- --- checkpoints
class _TorchWithSafeLoad(types.ModuleType):
    """Stands in for torch in the loaders of mmengine; its `load` reads files with `solo.checkpoints`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: str, *args: Any, **kwargs: Any) -> Any:
        return load_from_local(file)


def _load_safely() -> None:
    """Have mmengine read files with `solo.checkpoints`, and download nothing."""
    from mmengine.runner import CheckpointLoader

    module: Any = importlib.import_module("mmengine.runner.checkpoint")
    module.torch = _TorchWithSafeLoad("torch")
    _replace("mmengine.utils.dl_utils", "load_url", load_from_url)
    CheckpointLoader.register_scheme(prefixes=list(CheckpointLoader._schemes), loader=load_from_url, force=True)
    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(prefixes="imagenet://", loader=load_from_imagenet, force=True)


def _save_atomically() -> None:
    """Write local checkpoints to a temporary name and rename them."""
    module: Any = importlib.import_module("mmengine.runner.checkpoint")
    save_remote = module.save_checkpoint

    def save_checkpoint(checkpoint: dict[str, Any], filename: str, *args: Any, **kwargs: Any) -> None:
        from solo.checkpoints.saving import save_atomically, without_numpy

        if "://" in filename:
            save_remote(without_numpy(checkpoint), filename, *args, **kwargs)
        else:
            save_atomically(checkpoint, filename)

    _replace(module.__name__, "save_checkpoint", save_checkpoint)


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a local file onto the CPU; nothing in it is run or evaluated."""
    from solo.checkpoints.reading import read_file

    return read_file(filename)


def load_from_url(filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Refuse a URL or a name in a model zoo, which mmengine would download and unpickle without limits.

    Raises:
        CheckpointError: always.
    """
    raise CheckpointError(
        f"checkpoint {filename} is not a local file: solo downloads nothing. Download it and give its path "
        "(for ImageNet weights of a backbone: imagenet://FILE)"
    )


def load_from_imagenet(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load `imagenet://FILE` (see `solo.checkpoints.imagenet`)."""
    from solo.checkpoints.imagenet import load_backbone

    return load_backbone(filename)


# ------------------------------------------------------------------------------------------------------ --- _base_
def _find_bases_by_name() -> None:
    """Let `_base_` name a config that comes with solo, where no file has that path."""
    config_class: Any = importlib.import_module("mmengine.config").Config
    find_file = config_class._get_cfg_path

    def find_file_or_name(cfg_path: str, filename: str) -> tuple[str, str | None]:
        from solo.config.names import SUFFIXES, find_by_name

        path, scope = find_file(cfg_path, filename)
        if os.path.isfile(path) or cfg_path.endswith(SUFFIXES):
            return path, scope
        return str(find_by_name(cfg_path) or path), scope

    config_class._get_cfg_path = staticmethod(find_file_or_name)


# ------------------------------------------------------------------- --- distutils, pkg_resources, pkgutil.find_loader
def is_installed(package: str) -> bool:
    """Whether a distribution or module of this name is installed."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """The folder of a package, given the name of its module or distribution."""
    modules = [package, *_top_level_modules(package)]
    for module in modules:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            return os.path.dirname(spec.origin)
    raise importlib.metadata.PackageNotFoundError(package)


def mmcv_full_available() -> bool:
    """Whether `mmcv._ext` can be imported, be it the placeholder."""
    return importlib.util.find_spec("mmcv") is not None and importlib.util.find_spec(MMCV_EXTENSION) is not None


def _top_level_modules(distribution: str) -> list[str]:
    try:
        return (importlib.metadata.distribution(distribution).read_text("top_level.txt") or "").split()
    except importlib.metadata.PackageNotFoundError:
        return []


def collect_env() -> dict[str, Any]:
    """The environment of a run, for its log."""
    import cv2
    import mmengine

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "Python": sys.version.replace("\n", ""),
        "Platform": sys.platform,
        "GPUs": ", ".join(gpus) or "none",
        "PyTorch": torch.__version__,
        "PyTorch compiling details": torch.__config__.show(),
        "OpenCV": cv2.__version__,
        "MMEngine": mmengine.__version__,
    }


def _replace(module_name: str, name: str, replacement: Callable[..., Any]) -> None:
    """Replace a function in every OpenMMLab module that has imported it by name."""
    original = getattr(importlib.import_module(module_name), name)
    for loaded_name, module in list(sys.modules.items()):
        if loaded_name.partition(".")[0] in OPENMMLAB_PACKAGES and vars(module).get(name) is original:
            setattr(module, name, replacement)


# -------------------------------------------------------------------------------------------------------- --- warnings
def _import_quietly() -> None:
    """Import, without its warning, a module of torch that mmengine imports, and that insists on being heard."""
    if torch.distributed.is_available():
        with warnings.catch_warnings(record=True):
            importlib.import_module("torch.distributed.optim")


def _silence_warnings() -> None:
    """Silence warnings that mmengine's own code causes: `CheckpointHook` uses the deprecated `FileClient`."""
    file_client: Any = importlib.import_module("mmengine.fileio.file_client")
    file_client.print_log = lambda *args, **kwargs: None


# ------------------------------------------------------------------------------------------------------ build errors
# What constructors raise about their arguments. A RuntimeError is rarely caused by the config.
_CONSTRUCTOR_ERRORS = (TypeError, ValueError, AssertionError, AttributeError, LookupError)
# mmengine's builder functions -> their local variable that holds the config section.
_BUILDERS = {"build_from_cfg": "cfg", "build_dataloader": "dataloader"}


@contextlib.contextmanager
def build_errors() -> Iterator[None]:
    """Convert constructor errors into ConfigErrors that name the section, the values and the cause.

    Errors raised elsewhere pass unchanged.

    Raises:
        ConfigError: a constructor that mmengine called from a config section raised an error about its arguments.
    """
    try:
        yield
    except _CONSTRUCTOR_ERRORS as error:
        section = _section_being_built(error.__traceback__)
        if section is None:
            raise
        raise ConfigError(_build_error_message(section, error)) from error


def _build_error_message(section: Mapping[str, Any], error: BaseException) -> str:
    plain_types = (str, int, float, list, tuple)
    plain = {key: value for key, value in section.items() if key != "type" and isinstance(value, plain_types)}
    values = ", ".join(f"{key}={reprlib.repr(value)}" for key, value in plain.items())
    origin = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(str(error).split()) or "no reason given"
    return (
        f"config section {section.get('type', 'dataloader')}({values}) cannot be built: {type(error).__name__}: "
        f"{reason} ({Path(origin.filename).name}, line {origin.lineno})"
    )


def _section_being_built(trace: types.TracebackType | None) -> Mapping[str, Any] | None:
    """The config section of the innermost object that was being built."""
    section = None
    for frame, _ in traceback.walk_tb(trace):
        candidate = frame.f_locals.get(_BUILDERS.get(frame.f_code.co_name, ""))
        section = candidate if isinstance(candidate, Mapping) else section
    return section
