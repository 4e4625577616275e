"""An exported model: images in, `Instances` out, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from solo.errors import DataError, ExportedModelError
from solo.images.pixels import PixelFormat
from solo.images.reading import MAX_PIXELS, read_image
from solo.images.windows import open_image
from solo.inference.instances import Instances
from solo.masks.array_encoding import encode_resized_arrays
from solo.masks.components import keep_largest_component
from solo.runtime.metadata import MASK_STRIDE, ModelMetadata
from solo.runtime.raw import decode_raw
from solo.runtime.sessions import Outputs, RuntimeOptions, Session, open_session
from solo.tiles import TileBatch, TileObjects, Tiles, predict_by_tiles

Image: TypeAlias = str | Path | np.ndarray
Pixels: TypeAlias = npt.NDArray[np.uint8]
Size: TypeAlias = tuple[int, int]


class ExportedModel:
    """Runs an exported file. `SOLOPredictor` wraps it for one image, lists and batches.

    Attributes:
        session: the opened file.
        metadata: what the file says about itself.
        classes: class names.
        device: where it runs, in the words of the runtime.
        tiles: those of the file; None if images are predicted whole.
    """

    def __init__(self, path: str | Path, device: str | None = None, *, options: RuntimeOptions | None = None) -> None:
        """Open a file.

        Args:
            path: *.onnx, *.pt2, or the folder of an OpenVINO model.
            device: see `solo.runtime.sessions.open_session`.
            options: how it is run; None for the defaults.

        Raises:
            ExportedModelError, ConfigError: see `open_session`; or the metadata ask for more pixels than
                `solo.images.reading.MAX_PIXELS`.
        """
        self.session: Session = open_session(path, device=device, options=options or RuntimeOptions())
        self.path = str(path)
        self.metadata: ModelMetadata = self.session.metadata
        self.classes = self.metadata.classes
        self.tiles = self.metadata.tiles
        self.device = self.session.device
        self._check_pixels()

    @property
    def pixel_format(self) -> PixelFormat:
        """Channels and scaling of the images that the model takes."""
        return self.metadata.pixel_format

    def predict(self, images: Sequence[Image], *, tiles: Tiles | None = None) -> list[Instances]:
        """Predict the instances of a batch of files or arrays.

        Args:
            images: paths, or arrays as `SOLOPredictor` takes them.
            tiles: how images are cut into tiles, in place of the resizing of the metadata; None for whole images.

        Raises:
            DataError: an image cannot be used, or does not fit the model.
            ExportedModelError: the file does not do what its metadata say.
        """
        if tiles is not None:
            return self._predict_tiles(images, tiles)
        arrays = [self.read_image(image) for image in images]
        resized = [self._resize(array) for array in arrays]
        return self.detect(resized, original_sizes=[(array.shape[0], array.shape[1]) for array in arrays])

    def detect(
        self,
        images: Sequence[Pixels],
        *,
        original_sizes: Sequence[Size],
        image_sizes: Sequence[Size] | None = None,
    ) -> list[Instances]:
        """Detect the objects of resized images.

        Args:
            images: (h, w, C) BGR, of the size that `metadata.resized_size` gives.
            original_sizes: (height, width) of the original images.
            image_sizes: (height, width) of the images without padding at the bottom and right; None without any.

        Raises:
            DataError, ExportedModelError: as `predict`.
        """
        size = self.metadata.batch_size or len(images)
        if image_sizes is None:
            image_sizes = [(image.shape[0], image.shape[1]) for image in images]
        results: list[Instances] = []
        for start in range(0, len(images), max(1, size)):
            part = images[start : start + size]
            outputs = self.session.run(self._batch(part, count=size))
            self._check(outputs, count=size)
            results += [
                self._instances(
                    tuple(output[index] for output in outputs),
                    image_sizes[start + index],
                    original_sizes[start + index],
                )
                for index in range(len(part))
            ]
        return results

    def read_image(self, image: Image) -> Pixels:
        """Read a file, or convert an array, to (H, W, C) of the model's channels, scaled to 8 bits.

        Raises:
            DataError: it cannot be used.
        """
        if isinstance(image, np.ndarray):
            return self.pixel_format.convert(image, "given as an array")
        return read_image(image, pixels=self.pixel_format)

    def _predict_tiles(self, images: Sequence[Image], tiles: Tiles) -> list[Instances]:
        def predict(batch: TileBatch) -> list[TileObjects]:
            found = self.detect(batch.images, original_sizes=batch.original_sizes, image_sizes=batch.image_sizes)
            return [TileObjects(each.labels, each.scores, each.rles) for each in found]

        colour = self.metadata.to_network(np.array(self.metadata.pad_value, np.uint8).reshape(1, 1, -1))
        sources = [open_image(image, read=self.read_image, pixels=self.metadata.pixel_format) for image in images]
        results = predict_by_tiles(
            sources,
            tiles=tiles,
            predict=predict,
            pad_value=colour.ravel().tolist(),
        )
        return [
            Instances(**objects._asdict(), image_size=source.size, classes=self.classes)
            for source, objects in zip(sources, results, strict=True)
        ]

    def _resize(self, image: Pixels) -> Pixels:
        height, width = self.metadata.resized_size(*image.shape[:2])
        _check_image_pixels(height, width)
        if (height, width) == image.shape[:2]:
            return image
        try:
            resized: Pixels = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        except cv2.error as error:  # such as a resize of one row of 5000 pixels
            raise DataError(f"an image cannot be prepared for the network: {error.err} in {error.func}") from error
        return resized

    def _batch(self, images: Sequence[Pixels], *, count: int) -> Pixels:
        """(count, C, H, W) input of the graph; images that are missing are padding alone."""
        height, width = self.metadata.padded_size((image.shape[0], image.shape[1]) for image in images)
        _check_image_pixels(count * height, width)
        batch = np.empty((count, self.metadata.channels, height, width), np.uint8)
        batch[:] = np.array(self.metadata.pad_value, np.uint8)[:, None, None]
        for place, image in zip(batch, images, strict=False):
            place[:, : image.shape[0], : image.shape[1]] = self.metadata.to_network(image)
        return batch

    def _check(self, outputs: Outputs, *, count: int) -> None:
        """Refuse outputs of other shapes or types than those of the contract."""
        metadata, settings = self.metadata, self.metadata.postprocess
        if metadata.contract == "raw":
            cells, channels = metadata.num_cells, metadata.mask_channels or 0
            weights = channels * (metadata.kernel_size or 0) ** 2
            leading = [(count, cells, len(metadata.classes)), (count, cells, weights), (count, channels)]
            kinds: list[Any] = [np.float32] * 3
        else:
            found = outputs[0].shape[1] if outputs[0].ndim > 1 else 0
            leading = [(count, found), (count, found), (count, found, 4), (count, found)]
            kinds = [np.float32, np.int64, np.float32, np.uint8]
            if found > settings.max_detections:
                raise ExportedModelError(f"{self.path}: more than {settings.max_detections} detections of an image")
        for name, output, shape, kind in zip(metadata.output_names, outputs, leading, kinds, strict=True):
            axes = 4 if name in ("masks", "mask_feats") else len(shape)
            if output.dtype != kind or output.ndim != axes or output.shape[: len(shape)] != shape:
                raise ExportedModelError(
                    f"{self.path}: output {name} is {output.dtype} {output.shape}, expected {np.dtype(kind)} "
                    f"({', '.join(map(str, shape))}{', h, w' if axes > len(shape) else ''})"
                )

    def _instances(self, outputs: Outputs, image_size: Size, original_size: Size) -> Instances:
        settings = self.metadata.postprocess
        if self.metadata.contract == "raw":
            cls_logits, kernels, mask_feats = outputs
            labels, scores, masks = decode_raw(cls_logits, kernels, mask_feats, settings)
        else:
            rows = np.flatnonzero(outputs[1] >= 0)
            scores, labels, _, masks = (output[rows] for output in outputs)
        if labels.max(initial=-1) >= len(self.classes):
            raise ExportedModelError(f"{self.path}: label {labels.max()} is none of its {len(self.classes)} classes")
        if any(MASK_STRIDE * side < size for side, size in zip(masks.shape[1:], image_size, strict=True)):
            raise ExportedModelError(f"{self.path}: masks of shape {masks.shape[1:]} are too small for its input")
        if settings.largest_component:
            scale = 255 if masks.dtype == np.uint8 else 1
            keep_largest_component(masks, threshold=scale * settings.mask_thr)
        rles, boxes = encode_resized_arrays(
            masks, image_size=image_size, original_size=original_size, threshold=settings.mask_thr
        )
        return Instances(
            labels=labels, scores=scores, boxes=boxes, rles=rles, image_size=original_size, classes=self.classes
        )

    def _check_pixels(self) -> None:
        """Refuse sizes in the metadata that no image needs, before anything is allocated."""
        metadata = self.metadata
        sizes = {"resize_size": metadata.resize_size, "input_size": metadata.input_size}
        for name, size in sizes.items():
            if size is not None and (metadata.batch_size or 1) * size[0] * size[1] > MAX_PIXELS:
                raise ExportedModelError(
                    f"exported model {self.path}: metadata: {name} {size[1]} x {size[0]}, for batches of "
                    f"{metadata.batch_size or 1}, is more than {MAX_PIXELS} pixels"
                )


def _check_image_pixels(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise DataError(f"{height * width} pixels would enter the network at once, expected at most {MAX_PIXELS}")
