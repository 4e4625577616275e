"""An exported file as the model of an evaluation: images of the config's test pipeline in, detections out."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData

from solo.errors import ConfigError
from solo.inference.instances import Instances
from solo.registry import MODELS
from solo.runtime.model import ExportedModel
from solo.runtime.sessions import RuntimeOptions
from solo.tiles import Tiles, check_unresized


@MODELS.register_module()
class ExportedNetwork(BaseModel):
    """Runs an exported file in mmengine's test loop.

    Args:
        path: the file, or the folder of an OpenVINO model.
        options: arguments of `RuntimeOptions`; None for the defaults.
        tiles: arguments of `solo.tiles.Tiles`; None for whole images.

    Attributes:
        num_classes: C.
        classes: class names, from the file.

    Raises:
        ExportedModelError, ConfigError: as `ExportedModel`.
    """

    def __init__(
        self, *, path: str, options: dict[str, Any] | None = None, tiles: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self._tiles = None if tiles is None else Tiles(**tiles)
        self._exported = ExportedModel(path, options=RuntimeOptions(**options or {}))
        self.classes = self._exported.classes
        self.num_classes = len(self.classes)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Not supported: an exported file takes bytes, in `test_step`.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("an exported file predicts in test_step; it has no other mode")

    def test_step(self, data: Any) -> list[BaseDataElement]:
        """Predict a batch of a loader.

        Args:
            data: `inputs`, (3, h, w) uint8 BGR images; `data_samples` with the metainfo `img_shape` and `ori_shape`.

        Returns:
            The samples with `pred_instances` in pixels of the original images; masks are RLEs.

        Raises:
            ConfigError: the test pipeline makes other images than the file is to get.
        """
        samples: list[BaseDataElement] = data["data_samples"]
        images = [image.permute(1, 2, 0).numpy() for image in data["inputs"]]
        found = self._detect(images, samples)
        for sample, instances in zip(samples, found, strict=True):
            sample.pred_instances = InstanceData(
                labels=torch.from_numpy(instances.labels),
                scores=torch.from_numpy(instances.scores),
                bboxes=torch.from_numpy(instances.boxes),
                masks=list(instances.rles),
            )
        return samples

    def _detect(self, images: list[Any], samples: list[BaseDataElement]) -> list[Instances]:
        if self._tiles is not None:
            for sample in samples:
                check_unresized(sample.img_shape[:2], sample.ori_shape[:2])
            return self._exported.predict(images, tiles=self._tiles)
        for sample in samples:
            self._check_size(sample.img_shape[:2], sample.ori_shape[:2])
        return self._exported.detect(images, original_sizes=[sample.ori_shape[:2] for sample in samples])

    def _check_size(self, size: tuple[int, int], original: tuple[int, int]) -> None:
        expected = self._exported.metadata.resized_size(*original)
        if tuple(size) != expected:
            raise ConfigError(
                f"the config's test pipeline resizes an image of {original[1]} x {original[0]} pixels to {size[1]} x "
                f"{size[0]}, but {self._exported.path} is to get {expected[1]} x {expected[0]} (width x height)"
            )


def use_exported(config: Config, path: str, options: RuntimeOptions | None) -> None:
    """Let a config test an exported file in place of its model."""
    values = None if options is None else dict(threads=options.threads, precision=options.precision)
    tiles = config.model.get("tiles")
    config.model = ConfigDict(type="ExportedNetwork", path=path, options=values, tiles=tiles)
