"""The only place that bends the OpenMMLab packages; `import solo` applies it before anything of theirs is used.

(a) mmdet imports `mmcv.ops`, whose compiled part is absent from the wheels: a placeholder stands in for `mmcv._ext`.
(b) mmengine unpickles checkpoints without limits: here they load with `weights_only=True`.
(c) mmengine 0.10.7 needs `distutils` (gone in Python 3.12) and `pkg_resources` (gone in setuptools 82).
(d) Remarks of theirs that do not concern a user of `solo` are dropped.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pickle
import sys
import types
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

OPENMMLAB_PACKAGES = ("mmengine", "mmcv", "mmdet")
MMCV_EXTENSION = "mmcv._ext"


def apply() -> None:
    """Apply every adaptation. A second call changes nothing."""
    if any(isinstance(finder, _MissingExtensionFinder) for finder in sys.meta_path):
        return
    sys.meta_path.append(_MissingExtensionFinder())
    torch.serialization.add_safe_globals(checkpoint_classes())
    _load_weights_only()
    _save_atomically()
    _replace("mmengine.utils.package_utils", "is_installed", is_installed)
    _replace("mmengine.utils.package_utils", "get_installed_path", get_installed_path)
    _collect_env_without_distutils()
    _silence()


# ---------------------------------------------------------------------------------------------- (a) compiled operators
class _MissingExtensionFinder(MetaPathFinder):
    """Answers for `mmcv._ext`. It stands last on `sys.meta_path`, so a compiled one, where present, is found first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _MissingExtensionLoader()) if fullname == MMCV_EXTENSION else None


class _MissingExtensionLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _MissingExtension(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """The module is complete as created."""


class _MissingExtension(types.ModuleType):
    """Has every compiled operator by name; calling one raises an ImportError that says what to install."""

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


# ---------------------------------------------------------------------------------------------------- (b) checkpoints
def checkpoint_classes() -> list[Any]:
    """What a checkpoint of mmengine holds beside tensors and plain containers: the history of logged numbers.

    Some names depend on the version of numpy or of torch's reader that meets them; all of them are allowed.
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
    """The one use of `getattr` in a checkpoint: a history names its own four statistics. Anything else is an attack."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL getattr({owner!r}, {name!r})")
    return getattr(owner, name)


def _renamed(function: Any, module: str, name: str) -> Callable[..., Any]:
    """The function under another name, by which torch's unpickler recognizes it."""

    def alias(*args: Any) -> Any:
        return function(*args)

    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


class _TorchWithSafeLoad(types.ModuleType):
    """torch as mmengine's checkpoint loaders see it: the same, but `load` never runs code from a file."""

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
    """Have mmengine's hooks write checkpoints of the local disk under another name first."""
    module: Any = importlib.import_module("mmengine.runner.checkpoint")
    save_elsewhere = module.save_checkpoint

    def save_checkpoint(checkpoint: dict[str, Any], filename: str, *args: Any, **kwargs: Any) -> None:
        from solo.checkpoints.saving import save_atomically

        if "://" in filename:
            save_elsewhere(checkpoint, filename, *args, **kwargs)
        else:
            save_atomically(checkpoint, filename)

    _replace(module.__name__, "save_checkpoint", save_checkpoint)


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """mmengine's loader of files, with the messages of `solo.checkpoints` when a file cannot be used."""
    from solo.checkpoints.loading import read_file

    return read_file(filename, map_location=map_location)


def load_from_imagenet(filename: str, map_location: Any = None) -> dict[str, Any]:
    """mmengine's loader of `imagenet://FILE` (see `solo.checkpoints.imagenet`)."""
    from solo.checkpoints.imagenet import load_backbone

    return load_backbone(filename, map_location=map_location)


# ------------------------------------------------------------------------------------ (c) distutils and pkg_resources
def is_installed(package: str) -> bool:
    """Whether a distribution or a module of this name is there (mmengine's, without pkg_resources)."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """The folder of a package, named by its module or its distribution (mmengine's, without pkg_resources)."""
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
    """Give `collect_env` the one exception it takes from distutils, and let it do without the toolkit's path.

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
            cuda_home_or_none()  # imports setuptools, which warns when it meets a distutils that is not its own
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
    """Put a replacement wherever the packages have imported the original by name."""
    original = getattr(importlib.import_module(module_name), name)
    for loaded_name, module in list(sys.modules.items()):
        if loaded_name.partition(".")[0] in OPENMMLAB_PACKAGES and vars(module).get(name) is original:
            setattr(module, name, replacement)


# -------------------------------------------------------------------------------------------------------- (d) silence
def _silence() -> None:
    """mmengine's checkpoint hook uses a class of mmengine that warns of its own deprecation."""
    _fill_registries()
    file_client: Any = importlib.import_module("mmengine.fileio.file_client")
    file_client.print_log = lambda *args, **kwargs: None


def _fill_registries() -> None:
    """Give our scope an empty registry where `solo.registry` has none: mmengine warns at every lookup otherwise."""
    from mmengine.registry import Registry, root

    from solo.registry import SCOPE

    for parent in vars(root).values():
        if isinstance(parent, Registry) and SCOPE not in parent.children:
            Registry(parent.name, parent=parent, scope=SCOPE)
