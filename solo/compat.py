"""All patches of the OpenMMLab packages; `import solo` applies them before these packages are used.

| patch | why | until |
|---|---|---|
| `_MissingExtensionFinder` | mmdet imports `mmcv.ops`; mmcv-lite has no compiled `mmcv._ext` | mmdet > 3.3.0 |
| `_load_weights_only` | mmengine unpickles checkpoints, which can run code | mmengine > 0.10.7 |
| `_save_atomically` | mmengine writes checkpoints in place; a kill leaves a truncated file | mmengine > 0.10.7 |
| `is_installed`, `get_installed_path` | mmengine needs `pkg_resources` (removed in setuptools 82) | mmengine > 0.10.7 |
| `_collect_env_without_distutils` | mmengine needs `distutils` (removed in Python 3.12) | mmengine > 0.10.7 |
| `_silence_warnings` | mmengine warns about its own classes and about scopes without a registry | mmengine > 0.10.7 |

The versions are the newest ones, which still need the patch. `build_errors` reads the frames of mmengine's builders; it
patches nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import pickle
import reprlib
import sys
import traceback
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from solo.errors import ConfigError

OPENMMLAB_PACKAGES = ("mmengine", "mmcv", "mmdet")
MMCV_EXTENSION = "mmcv._ext"


def apply() -> None:
    """Apply all patches. A second call changes nothing."""
    if any(isinstance(finder, _MissingExtensionFinder) for finder in sys.meta_path):
        return
    sys.meta_path.append(_MissingExtensionFinder())
    torch.serialization.add_safe_globals(checkpoint_classes())
    _load_weights_only()
    _save_atomically()
    _replace("mmengine.utils.package_utils", "is_installed", is_installed)
    _replace("mmengine.utils.package_utils", "get_installed_path", get_installed_path)
    _collect_env_without_distutils()
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
def checkpoint_classes() -> list[Any]:
    """Classes in mmengine's checkpoints that torch does not allow by itself: the history of logged values.

    Some names depend on the versions of numpy and torch that wrote the file; all of them are allowed.
    """
    reconstruct = np.zeros(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")]
    functions = [
        *[_renamed(reconstruct, f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")],
        *[_renamed(scalar, f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")],
        *[_renamed(_statistic_of_history, module, "getattr") for module in ("builtins", "__builtin__")],
    ]
    return [HistoryBuffer, Counter, np.ndarray, np.dtype, *dtypes, *functions]


def _statistic_of_history(owner: object, name: str) -> Any:
    """Replacement for `getattr` in a checkpoint: a history refers to its four statistics; all else is refused."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL getattr({owner!r}, {name!r})")
    return getattr(owner, name)


def _renamed(function: Any, module: str, name: str) -> Callable[..., Any]:
    """Wrap a function under another name, by which torch's unpickler finds it."""

    def alias(*args: Any) -> Any:
        return function(*args)

    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


class _TorchWithSafeLoad(types.ModuleType):
    """Stands in for the torch module in mmengine's checkpoint loaders; its `load` never runs code from a file."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(*args: Any, **kwargs: Any) -> Any:
        return torch.load(*args, **{**kwargs, "weights_only": True})


def _load_weights_only() -> None:
    from mmengine.runner import CheckpointLoader

    for name in ("mmengine.runner.checkpoint", "mmengine.utils.dl_utils.hub"):
        module: Any = importlib.import_module(name)
        module.torch = _TorchWithSafeLoad("torch")
    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(prefixes="imagenet://", loader=load_from_imagenet, force=True)


def _save_atomically() -> None:
    """Write local checkpoints to a temporary name and rename them."""
    module: Any = importlib.import_module("mmengine.runner.checkpoint")
    save_remote = module.save_checkpoint

    def save_checkpoint(checkpoint: dict[str, Any], filename: str, *args: Any, **kwargs: Any) -> None:
        from solo.checkpoints.saving import save_atomically

        if "://" in filename:
            save_remote(checkpoint, filename, *args, **kwargs)
        else:
            save_atomically(checkpoint, filename)

    _replace(module.__name__, "save_checkpoint", save_checkpoint)


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a local file like mmengine's loader, with the error messages of `solo.checkpoints`."""
    from solo.checkpoints.loading import read_file

    return read_file(filename, map_location=map_location)


def load_from_imagenet(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load `imagenet://FILE` (see `solo.checkpoints.imagenet`)."""
    from solo.checkpoints.imagenet import load_backbone

    return load_backbone(filename, map_location=map_location)


# ------------------------------------------------------------------------------------ --- distutils and pkg_resources
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


def _top_level_modules(distribution: str) -> list[str]:
    try:
        return (importlib.metadata.distribution(distribution).read_text("top_level.txt") or "").split()
    except importlib.metadata.PackageNotFoundError:
        return []


def _collect_env_without_distutils() -> None:
    """Provide the one exception that `collect_env` imports from distutils, and tolerate a missing CUDA toolkit path.

    torch looks for the CUDA toolkit in a module that imports setuptools, which need not be installed.
    """
    module: Any = importlib.import_module("mmengine.utils.dl_utils.collect_env")
    collect_env, cuda_home = module.collect_env, module._get_cuda_home

    def cuda_home_or_none() -> str | None:
        try:
            return cuda_home()
        except ImportError:
            return os.environ.get("CUDA_HOME")

    def collect_env_without_distutils() -> dict[str, Any]:
        if torch.cuda.is_available():
            cuda_home_or_none()  # imports setuptools, which would warn about the stand-in for distutils below
        found = {name: sys.modules.get(name) for name in ("distutils", "distutils.errors")}
        errors = types.ModuleType("distutils.errors")
        errors.DistutilsPlatformError = OSError  # type: ignore[attr-defined]
        distutils = types.ModuleType("distutils")
        distutils.errors = errors  # type: ignore[attr-defined]
        sys.modules.update({"distutils": distutils, "distutils.errors": errors})
        try:
            return collect_env()
        finally:
            for name, former in found.items():
                sys.modules.pop(name, None)
                if former is not None:
                    sys.modules[name] = former

    module._get_cuda_home = cuda_home_or_none
    _replace(module.__name__, "collect_env", collect_env_without_distutils)


def _replace(module_name: str, name: str, replacement: Callable[..., Any]) -> None:
    """Replace a function in every OpenMMLab module that has imported it by name."""
    original = getattr(importlib.import_module(module_name), name)
    for loaded_name, module in list(sys.modules.items()):
        if loaded_name.partition(".")[0] in OPENMMLAB_PACKAGES and vars(module).get(name) is original:
            setattr(module, name, replacement)


# -------------------------------------------------------------------------------------------------------- --- warnings
def _silence_warnings() -> None:
    """Silence warnings that mmengine's own code causes: `CheckpointHook` uses the deprecated `FileClient`."""
    _fill_registries()
    file_client: Any = importlib.import_module("mmengine.fileio.file_client")
    file_client.print_log = lambda *args, **kwargs: None


def _fill_registries() -> None:
    """Add empty registries to our scope where `solo.registry` has none: mmengine warns at every lookup otherwise."""
    from mmengine.registry import Registry, root

    from solo.registry import SCOPE

    for parent in vars(root).values():
        if isinstance(parent, Registry) and SCOPE not in parent.children:
            Registry(parent.name, parent=parent, scope=SCOPE)


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
