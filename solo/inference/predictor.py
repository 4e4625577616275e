"""Predict instances from Python: `SOLOPredictor(config, checkpoint)(image)`, `SOLOPredictor("model.onnx")(image)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload

import numpy as np

from solo.errors import ConfigError, DataError
from solo.images.pixels import PixelFormat
from solo.inference.instances import Instances
from solo.inference.sources import Frame, Source, open_source
from solo.inference.streaming import predict_stream
from solo.inference.tracking import make_tracker
from solo.inference.tracking import track as give_identities
from solo.runtime.sessions import RuntimeOptions, is_exported
from solo.tiles import Tiles, choose_tiles

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config

    from solo.deployment import DeploymentOptions

Image: TypeAlias = str | Path | np.ndarray
TRACKING_SCORE = 0.3
_KINDS = "a path, or an array of 8 or 16 bits: (H, W, 3) BGR or (H, W) gray"
_NEEDED_BY_CHECKPOINTS = {"torch", "mmengine", "mmcv", "mmdet"}


class _Model(Protocol):
    classes: tuple[str, ...]

    tiles: Tiles | None

    def predict(self, images: Sequence[Image], *, tiles: Tiles | None = None) -> list[Instances]: ...

    @property
    def pixel_format(self) -> PixelFormat: ...

    def read_image(self, image: Image) -> np.ndarray: ...


class SOLOPredictor:
    """A trained model, from a checkpoint or an exported file, that predicts the instances of images.

    Exported files are run without torch (`solo.runtime`), except .pt2.

    Attributes:
        classes: class names, from the checkpoint or the exported file.
        model: the model in evaluation mode. It is deployed, so its weights have other names than the checkpoint's.
            Of an exported file its `solo.runtime.ExportedModel`.
        device: where it runs: a `torch.device`, or the name that the runtime of the exported file has for it.
        tiles: how images are cut into tiles; None if they are predicted whole.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        *,
        tta: bool = False,
        tile: int | None = None,
        overlap: float | None = None,
        tile_scale: float | Sequence[int] | None = None,
        deployment: DeploymentOptions | RuntimeOptions | None = None,
    ) -> None:
        """Build the model of a config and fill it from a checkpoint, or open an exported file.

        Args:
            config: a config file, the name of a config that comes with solo, or a loaded config; or, alone, an exported
                file (*.onnx, *.pt2, or the folder of an OpenVINO model), a folder that `solo publish` wrote, or the
                name of a model that comes with solo, such as "nuclei-nano".
            checkpoint: the weights that a training wrote, or `hf://ORG/REPO/FILE` of the Hugging Face Hub. An exported
                file is taken here too; it needs no config, and `config` is not read.
            device: "cpu", "cuda", ...; None selects the GPU if there is one, else the CPU. OpenVINO has "gpu" and
                "npu", and None selects its CPU.
            tta: test-time augmentation: predict several views of each image, flipped and resized, and merge them.
            tile: side in pixels of the tiles that images are cut into, for images of any size; 0 for whole images. None
                for the option `tiles` of the config's model, or of the exported file.
            overlap: least overlap of neighbouring tiles, as a fraction of their side; None for the model's, or 0.2.
            tile_scale: how images are resized before they are cut, see `solo.tiles.Tiles`; None for the model's, or 1.
            deployment: how the network is run; None for the recommended options of the device, which make it faster and
                change scores by rounding (1e-5) alone. `DeploymentOptions()` leaves the model as it was trained. For an
                exported file `RuntimeOptions`.

        Raises:
            ConfigError: the config is missing, wrong, or has no test pipeline; tiles are out of their bounds, or are to
                be combined with test-time augmentation; the device is unavailable, or does not
                support the deployment options; an exported file is to be run with options of a checkpoint, or reversed.
            CheckpointError: the checkpoint is missing, unsafe, does not fit the model, or needs another image
                preprocessing.
            ExportedModelError: the exported file is missing, foreign, damaged or unsafe, or its runtime is not
                installed.
        """
        if checkpoint is not None and (not is_exported(checkpoint) or str(checkpoint).startswith("hf://")):
            with packages_of_checkpoints(checkpoint):
                from solo.checkpoints.hub import local_checkpoint  # imports torch, which exported files do without

            checkpoint = local_checkpoint(checkpoint)
        file = next((path for path in (checkpoint, config) if is_exported(path)), None)
        self.model: Any
        self.device: Any
        if file is not None:
            exported = _open_exported(str(file), device=device, tta=tta, options=deployment)
            self._model: _Model = exported
            self.model, self.device = exported, exported.device
        else:
            if checkpoint is None:
                config, checkpoint = _published(config)
            opened = _open_checkpoint(config, checkpoint, device=device, tta=tta, deployment=deployment)
            self._model, self.model, self.device = opened, opened.model, opened.device
        self.classes = self._model.classes
        self.tiles = choose_tiles(self._model.tiles, size=tile, overlap=overlap, scale=tile_scale)
        if tta and self.tiles is not None:
            raise ConfigError("test-time augmentation predicts whole images: tta=True needs tile=0")

    @overload
    def __call__(  # type: ignore[overload-overlap]  # str
        self, images: Image, *, batch_size: int = 1, tile: int | None = None, overlap: float | None = None
    ) -> Instances: ...

    @overload
    def __call__(
        self, images: Sequence[Image], *, batch_size: int = 1, tile: int | None = None, overlap: float | None = None
    ) -> list[Instances]: ...

    def __call__(
        self,
        images: Image | Sequence[Image],
        *,
        batch_size: int = 1,
        tile: int | None = None,
        overlap: float | None = None,
    ) -> Instances | list[Instances]:
        """Predict the instances of one image or of several.

        Args:
            images: a path, an array as `cv2.imread` returns it (uint8 or uint16; (H, W, 3) BGR, (H, W, 4) BGRA or
                (H, W) gray; of the model's channels, if these are others), or a sequence of them. Files are rotated by
                their EXIF orientation.
            batch_size: how many images go through the model at once; of tiles `tiles.batch_size` do.
            tile: side of the tiles for this call, pixels; 0 for whole images, None as the predictor was made.
            overlap: their overlap, likewise.

        Returns:
            The instances of the image by descending score, in the pixels of the image; a list of them for a sequence.

        Raises:
            DataError: a file is missing or is not an image, or the argument is none of the above.
            ConfigError: the tiles are out of their bounds.
            ValueError: batch_size is below 1.
        """
        tiles = choose_tiles(self.tiles, size=tile, overlap=overlap)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if isinstance(images, (str, Path, np.ndarray)):
            return self._model.predict([images], tiles=tiles)[0]
        if not isinstance(images, Sequence):
            raise DataError(f"expected an image ({_KINDS}) or a sequence of them, got {type(images).__name__}")
        for image in images:
            if not isinstance(image, (str, Path, np.ndarray)):
                raise DataError(f"expected an image ({_KINDS}), got {type(image).__name__}")
        results: list[Instances] = []
        for start in range(0, len(images), batch_size):
            results += self._model.predict(images[start : start + batch_size], tiles=tiles)
        return results

    def stream(
        self,
        source: str | int | Path | Sequence[str | int | Path] | Source,
        *,
        batch_size: int = 1,
        vid_stride: int = 1,
        track: str | None = None,
    ) -> Iterator[tuple[Frame, Instances]]:
        """Predict images, videos, a camera or a stream, frame by frame and in bounded memory.

        The next frames are read in a thread meanwhile. Of files every frame is predicted; of a camera or stream always
        the newest one. What was skipped is counted in `source.report` of a `solo.inference.sources.Source`, which
        `open_source` makes.

        Args:
            source: image file, video file, folder, glob pattern, text file of paths (*.txt), "-" for paths on the
                standard input, index of a camera, URL; several of those, or a `Source`.
            batch_size: how many images go through the model at once.
            vid_stride: only every n-th frame of videos, cameras and streams; a `Source` has its own.
            track: give `instances.ids`, identities across the frames of a video: "bytetrack" (needs roboflow's
                trackers) or "iou". Objects start a track with a score of 0.3.

        Yields:
            The frame (`frame.image`, `frame.index`, `frame.time`, `frame.path`, `frame.name`) and its instances.

        Raises:
            DataError: the source does not exist, holds nothing to predict, or cannot be opened.
            ConfigError: the tracker is unknown, or its package is not installed.
            ValueError: batch_size or vid_stride is below 1.
        """
        tracker = None if track is None else make_tracker(track, score_thr=TRACKING_SCORE)
        opened = source if isinstance(source, Source) else open_source(source, stride=vid_stride)
        opened.connect()
        results = predict_stream(self, opened, batch_size=batch_size)
        return results if tracker is None else give_identities(results, tracker)

    @property
    def pixel_format(self) -> PixelFormat:
        """Channels and scaling of the images that the model takes, which `read_image` applies."""
        return self._model.pixel_format

    def read_image(self, image: Image) -> np.ndarray:
        """Read a file as the model does: the channels of its config, deep images scaled as its config says.

        Args:
            image: a path, or an array, which is converted likewise.

        Returns:
            (H, W, C) uint8, BGR of three channels. Given to the predictor it is taken as it is;
            `solo.images.pixels.to_bgr` makes an image to look at of it.

        Raises:
            DataError: it cannot be used.
        """
        return self._model.read_image(image)


def _open_exported(file: str, *, device: Any, tta: bool, options: Any) -> Any:
    from solo.runtime.model import ExportedModel

    if tta:
        raise ConfigError(f"{file}: test-time augmentation needs a config and a checkpoint, not an exported file")
    if options is not None and not isinstance(options, RuntimeOptions):
        raise ConfigError(f"{file}: an exported file is run with solo.runtime.RuntimeOptions, got {options}")
    return ExportedModel(file, None if device is None else str(device), options=options)


@contextmanager
def packages_of_checkpoints(checkpoint: Any) -> Iterator[None]:
    """Say in one line which package is missing, where solo was installed for exported files alone.

    Raises:
        ConfigError: a package that checkpoints need cannot be imported in the block.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED_BY_CHECKPOINTS:
            raise
        raise ConfigError(
            f"{checkpoint}: a checkpoint needs {error.name} (pip install solov2); without it, exported files are run"
        ) from None


def _published(name: Any) -> tuple[str, str]:
    """Config and weights of a published model; a config's name without a checkpoint is an error."""
    with packages_of_checkpoints(name):
        from solo.checkpoints.published import find_model, is_model, model_names

    if not is_model(name):
        raise ConfigError(
            f"{name}: expected a checkpoint with this config, an exported file, or one of solo's models: "
            f"{', '.join(model_names())}"
        )
    found = find_model(name)
    return str(found.config), str(found.weights)


def _open_checkpoint(config: Any, checkpoint: Any, *, device: Any, tta: bool, deployment: Any) -> Any:
    with packages_of_checkpoints(checkpoint):
        from solo.inference.checkpoint_model import CheckpointModel
    if isinstance(deployment, RuntimeOptions):
        raise ConfigError(f"{checkpoint}: a checkpoint is run with solo.deployment.DeploymentOptions, got {deployment}")
    return CheckpointModel(config, checkpoint, device, tta=tta, deployment=deployment)
