"""Experiment trackers beside the files of the work folder: Weights & Biases, MLflow, Trackio."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend

from solo.errors import ConfigError

TRACKERS = ("wandb", "mlflow", "trackio")


def add_tracker(config: Config, name: str, *, project: str) -> None:
    """Log the scalars of a training to a tracker too.

    Args:
        config: changed in place.
        name: one of `TRACKERS`, which is the name of its package as well.
        project: name of the project (of the experiment, for MLflow).

    Raises:
        ConfigError: the tracker is unknown, its package is not installed, or the config has no visualizer.
    """
    if name not in TRACKERS:
        raise ConfigError(f"--log {name}: unknown, expected one of {', '.join(TRACKERS)}")
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"--log {name}: the package {name} is not installed; `pip install {name}` brings it")
    # mmengine's default, a folder of files, is refused by MLflow 3.
    server = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{os.path.abspath(config.work_dir)}/mlflow.db"
    backends = {
        "wandb": dict(type="WandbVisBackend", init_kwargs=dict(project=project, dir=config.work_dir)),
        "mlflow": dict(type="MLflowVisBackend", exp_name=project, save_dir=config.work_dir, tracking_uri=server),
        "trackio": dict(type="TrackioVisBackend", project=project),
    }
    if not config.get("visualizer"):
        raise ConfigError(f"--log {name}: the config has no visualizer")
    config.visualizer.vis_backends = [*config.visualizer.get("vis_backends", []), ConfigDict(backends[name])]


@VISBACKENDS.register_module()
class TrackioVisBackend(BaseVisBackend):
    """Scalars and config of a training in Trackio, which stores them on this machine.

    Args:
        project: name of the project.
        save_dir: not used: Trackio has a folder of its own.
    """

    def __init__(self, *, project: str, save_dir: str | None = None) -> None:
        super().__init__(save_dir or ".")
        self._project = project
        self._run: Any = None
        self._module: Any = None

    def _init_env(self) -> None:
        self._module = importlib.import_module("trackio")  # not installed everywhere
        self._run = self._module.init(project=self._project)

    @property
    def experiment(self) -> Any:
        """Trackio's module, with a started run."""
        if self._run is None:
            self._init_env()
        return self._module

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Store the config as text."""
        self.experiment.log({"config": config.pretty_text})

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Store a scalar."""
        self.add_scalars({name: value}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Store scalars of one step."""
        self.experiment.log({name: float(value) for name, value in scalar_dict.items()}, step=step)

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self.experiment.finish()
            self._run = None
