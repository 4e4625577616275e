"""Models of a server, and how long they take by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from solo.errors import ConfigError
from solo.images.pixels import PixelFormat
from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.runtime.metadata import ModelMetadata
from solo.runtime.model import ExportedModel


class Prediction(NamedTuple):
    """Instances of an image, and seconds for the network (with the image's preparation) and the decoding of masks."""

    instances: Instances
    network: float
    decode: float


class ServedModel:
    """A model under a name. Calls are not thread-safe.

    Attributes:
        name: unique on the server.
        classes: class names.
        device: where it runs.
        pixel_format: channels and scaling of the images that it takes.
        metadata: of an exported file.
    """

    def __init__(self, name: str, predictor: SOLOPredictor | Callable[[Any], Instances]) -> None:
        """Wrap a predictor, or a function from images to instances with its attributes."""
        self.name, self._predictor = name, predictor
        found: Any = predictor
        self.classes: tuple[str, ...] = tuple(found.classes)
        self.device = str(found.device)
        self.pixel_format: PixelFormat = found.pixel_format
        model = getattr(found, "model", None)
        self.metadata: ModelMetadata | None = getattr(model, "metadata", None)
        self._network = _TimedMethod(model.session, "run") if isinstance(model, ExportedModel) else None
        self._decoding = None
        if self._network is None and hasattr(model, "postprocess"):
            self._decoding = _TimedMethod(model, "postprocess", before=_synchronizer(found.device))

    def __call__(self, image: npt.NDArray[np.uint8]) -> Prediction:
        """Predict the instances of (H, W, C) uint8, as `pixel_format` says."""
        start = time.perf_counter()
        network = decode = 0.0
        instances = self._predictor(image)
        seconds = time.perf_counter() - start
        if self._network is not None:
            network = self._network.take_seconds()
            decode = seconds - network
        else:
            decode = self._decoding.take_seconds() if self._decoding else 0.0
            network = seconds - decode
        return Prediction(instances, network, decode)


class _TimedMethod:
    """Replaces a method of an object by one that adds up its time."""

    def __init__(self, owner: Any, name: str, *, before: Callable[[], None] | None = None) -> None:
        self._method, self._before = getattr(owner, name), before
        self._seconds = 0.0
        setattr(owner, name, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self._before:
            self._before()
        start = time.perf_counter()
        try:
            return self._method(*arguments, **options)
        finally:
            self._seconds += time.perf_counter() - start

    def take_seconds(self) -> float:
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def _synchronizer(device: Any) -> Callable[[], None] | None:
    """Waits until the network has run: a GPU computes while the program goes on."""
    if getattr(device, "type", None) != "cuda":
        return None
    import torch

    return lambda: torch.cuda.synchronize(device)


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that are repeated."""
    found: list[str] = []
    for name in names:
        number, unique = 1, name
        while unique in found:
            number += 1
            unique = f"{name} ({number})"
        found.append(unique)
    return found


def find_model(models: Sequence[ServedModel], name: str | None) -> ServedModel:
    """The model of a name; the first one for None.

    Raises:
        ConfigError: there is none of this name.
    """
    for model in models:
        if name in (None, model.name):
            return model
    raise ConfigError(f"model {name!r} is unknown; there are {', '.join(repr(model.name) for model in models)}")
