"""A model of a config, filled from a checkpoint, that predicts the instances of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement

from solo.checkpoints import load_checkpoint, load_weights
from solo.checkpoints.fitting import check_preprocessing
from solo.config.channels import check_channels
from solo.config.load import configured_class_names, load_config
from solo.config.tiles import configured_tiles, without_resize
from solo.datasets.transforms.load_image import LoadImage
from solo.deployment import DeploymentOptions, deploy
from solo.errors import CheckpointError, ConfigError, DataError, missing_file_message
from solo.images.pixels import PixelFormat
from solo.images.reading import read_image
from solo.images.windows import open_image
from solo.inference.instances import Instances
from solo.inference.tta.config import single_view_pipeline, tta_model, tta_pipeline
from solo.models.tiles import pad_value, tile_objects
from solo.registry import MODELS, SCOPE, TRANSFORMS
from solo.tiles import TileBatch, TileObjects, Tiles, predict_by_tiles

Image: TypeAlias = str | Path | np.ndarray


class CheckpointModel:
    """A trained model, run by torch. `SOLOPredictor` wraps it for one image, lists and batches.

    Attributes:
        classes: class names, from the checkpoint.
        model: the model in evaluation mode. It is deployed, so its weights have other names than the checkpoint's.
        device: where it runs.
        tiles: those of the config; None if images are predicted whole.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
        *,
        tta: bool = False,
        deployment: DeploymentOptions | None = None,
    ) -> None:
        """Build the model of a config and fill it from a checkpoint.

        Arguments and errors are those of `SOLOPredictor`.
        """
        config = config if isinstance(config, Config) else load_config(config)
        weights = load_checkpoint(checkpoint)
        init_default_scope(config.get("default_scope") or SCOPE)
        self.device = _device(device)
        steps = tta_pipeline(config) if tta else single_view_pipeline(config)
        check_channels(config)
        self._pipeline = Compose([TRANSFORMS.build(step) for step in steps])
        loaders = [step for step in self._pipeline.transforms if isinstance(step, LoadImage)]
        self._load = loaders[0] if loaders else LoadImage()
        self._tile_pipeline = Compose([TRANSFORMS.build(step) for step in without_resize(steps)])
        self.tiles = configured_tiles(config)
        model_config = {**config.model}
        model_config.pop("tiles", None)  # each call has its own
        if "backbone" in model_config:  # the checkpoint holds the backbone: no pretrained file is needed
            model_config["backbone"] = {**model_config["backbone"], "init_cfg": None}
        if "postprocess" in model_config:
            model_config["postprocess"] = {**model_config["postprocess"], "mask_format": "rle"}
        self.model = MODELS.build(model_config)
        self.classes = _class_names(config, weights, num_classes=self.model.num_classes, source=str(checkpoint))
        check_preprocessing(weights, config, source=f"checkpoint {checkpoint}")
        load_weights(self.model, weights, source=f"checkpoint {checkpoint}")
        self.model.to(self.device).eval()
        deploy(self.model, deployment or DeploymentOptions.recommended(self.device))
        if tta:
            self.model = _with_views(config, self.model)

    @property
    def pixel_format(self) -> PixelFormat:
        """Channels and scaling of the images that the model takes."""
        return self._load.pixels

    def read_image(self, image: Image) -> np.ndarray:
        """Read a file, or convert an array, as the pipeline does: (H, W, C) of the model's channels, 8 bits.

        Raises:
            DataError: it cannot be used.
        """
        if isinstance(image, np.ndarray):
            return self._load.pixels.convert(image, "given as an array")
        return read_image(image, max_pixels=self._load.max_pixels, pixels=self._load.pixels)

    # Not `inference_mode`: training could not use tensors that the model caches here.
    @torch.no_grad()
    def predict(self, images: Sequence[Image], *, tiles: Tiles | None = None) -> list[Instances]:
        """Predict the instances of a batch of paths or arrays, as `SOLOPredictor` takes them, whole or by tiles.

        Raises:
            DataError: a file is missing or is not an image.
        """
        if tiles is not None:
            return self._predict_tiles(images, tiles)
        batch = pseudo_collate([self._prepare(image) for image in images])
        return [self._to_instances(sample) for sample in self.model.test_step(batch)]

    def _predict_tiles(self, images: Sequence[Image], tiles: Tiles) -> list[Instances]:
        sources = [open_image(image, read=self.read_image, pixels=self._load.pixels) for image in images]
        results = predict_by_tiles(sources, tiles=tiles, predict=self._predict_batch, pad_value=pad_value(self.model))
        return [
            Instances(**objects._asdict(), image_size=source.size, classes=self.classes)
            for source, objects in zip(sources, results, strict=True)
        ]

    def _predict_batch(self, batch: TileBatch) -> list[TileObjects]:
        prepared = [self._tile_pipeline(dict(img=image, img_path=None, img_id=0)) for image in batch.images]
        sizes = zip(batch.image_sizes, batch.original_sizes, strict=True)
        for each, (image_size, original_size) in zip(prepared, sizes, strict=True):
            each["data_samples"].set_metainfo(dict(img_shape=image_size, ori_shape=original_size))
        return [tile_objects(sample) for sample in self.model.test_step(pseudo_collate(prepared))]

    def _to_instances(self, sample: BaseDataElement) -> Instances:
        found = sample.pred_instances
        return Instances(
            labels=found.labels.cpu().numpy(),
            scores=found.scores.cpu().numpy(),
            boxes=found.bboxes.cpu().numpy(),
            rles=tile_objects(sample).rles,
            image_size=sample.ori_shape[:2],
            classes=self.classes,
        )

    def _prepare(self, image: Image) -> Any:
        given: dict[str, Any]
        if isinstance(image, np.ndarray):
            given, name = dict(img=image, img_path=None), "given as an array"
        else:
            path = Path(image).expanduser()
            if not path.is_file():
                raise DataError(missing_file_message(path, kind="image"))
            given, name = dict(img_path=str(path)), str(path)
        try:
            return self._pipeline(dict(**given, img_id=0))
        except cv2.error as error:  # such as a resize of one row of 5000 pixels
            raise DataError(f"image {name} cannot be prepared for the network: {error.err} in {error.func}") from error


def _with_views(config: Config, model: BaseModel) -> BaseModel:
    try:
        return MODELS.build(tta_model(config, model)).eval()
    except ValueError as error:
        raise ConfigError(f"config {config.filename}: {error}") from error


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        raise ConfigError(f"device {device!r} is unknown, expected cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device} is unavailable: torch sees {torch.cuda.device_count()} GPUs")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {device} is unavailable: {next(iter(str(error).splitlines()), '')}") from None
    return device


def _class_names(config: Config, checkpoint: dict[str, Any], *, num_classes: int, source: str) -> tuple[str, ...]:
    """Names from the checkpoint, else from the config, else numbers."""
    names = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes")
    if names is not None and len(names) != num_classes:
        raise CheckpointError(
            f"checkpoint {source}: was trained with {len(names)} classes {tuple(names)}, but the config's"
            f" model.num_classes is {num_classes}"
        )
    if names is None:
        names = configured_class_names(config)
    if names is None:
        return tuple(f"class {index}" for index in range(num_classes))
    if len(names) != num_classes:
        raise ConfigError(
            f"config {config.filename}: names {len(names)} classes {tuple(names)}, but model.num_classes is"
            f" {num_classes}"
        )
    return tuple(names)
