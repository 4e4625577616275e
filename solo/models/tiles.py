"""Tiles of images in tensors: what a model with the option `tiles` does in validation and testing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from solo.masks.encoding import encode_bitmaps
from solo.masks.rle import decode_masks
from solo.tiles import Objects, TileBatch, TileObjects, Tiles, Window, check_unresized, predict_by_tiles

Step = Callable[[dict[str, Any]], Sequence[BaseDataElement]]


class TensorImage:
    """A (C, H, W) uint8 tensor of a loader, read by windows."""

    def __init__(self, image: Tensor) -> None:
        self._pixels = image.permute(1, 2, 0).cpu().numpy()  # a view
        self.size = (image.shape[-2], image.shape[-1])

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """The pixels (h, w, C) of a window."""
        return self._pixels[window.y1 : window.y2, window.x1 : window.x2]


def predict_samples(data: dict[str, Any], *, tiles: Tiles, model: nn.Module, step: Step) -> list[BaseDataElement]:
    """Predict a batch of a loader by tiles.

    Args:
        data: `inputs`, (C, H, W) uint8 images of any sizes; `data_samples` with the metainfo `ori_shape`.
        tiles: how images are cut.
        model: has the colour of the padding, and says by `postprocess.mask_format` what form masks have.
        step: predicts a batch of tiles, in the same form.

    Returns:
        The samples with `pred_instances` in pixels of the images, as without tiles.

    Raises:
        ConfigError: the images were resized by the pipeline.
    """
    samples = list(data["data_samples"])
    for sample in samples:
        check_unresized(sample.img_shape[:2], sample.ori_shape[:2])
    results = predict_by_tiles(
        map(TensorImage, data["inputs"]),
        tiles=tiles,
        predict=lambda batch: predict_batch(batch, step=step),
        pad_value=pad_value(model),
    )
    as_bitmaps = getattr(getattr(model, "postprocess", None), "mask_format", "rle") == "bool"
    device = next(iter(model.parameters()), torch.empty(0)).device
    for sample, objects in zip(samples, results, strict=True):
        sample.pred_instances = _to_instances(objects, sample.ori_shape[:2], as_bitmaps=as_bitmaps, device=device)
    return samples


def predict_batch(batch: TileBatch, *, step: Step) -> list[TileObjects]:
    """Predict tiles by a model's step."""
    inputs = [torch.from_numpy(image).permute(2, 0, 1) for image in batch.images]
    sizes = zip(batch.image_sizes, batch.original_sizes, strict=True)
    samples = [BaseDataElement(metainfo=dict(img_shape=image, ori_shape=original)) for image, original in sizes]
    return [tile_objects(sample) for sample in step(dict(inputs=inputs, data_samples=samples))]


def tile_objects(sample: BaseDataElement) -> TileObjects:
    """The detections of a tile."""
    found = sample.pred_instances
    # A model without SOLOv2's post-processor may return bitmaps.
    rles = found.masks if isinstance(found.masks, list) else encode_bitmaps(found.masks).rles
    return TileObjects(found.labels.cpu().numpy(), found.scores.float().cpu().numpy(), rles)


def pad_value(model: nn.Module) -> tuple[int, ...]:
    """The colour of an image, in the order of its channels, that a model turns to about zero; black without a mean."""
    preprocessor: Any = getattr(model, "data_preprocessor", None)
    mean = getattr(preprocessor, "mean", None)
    if mean is None:
        return (0,)
    colour = [round(value) for value in mean.flatten().tolist()]
    return tuple([*colour[2::-1], *colour[3:]] if preprocessor.bgr_to_rgb else colour)


def _to_instances(objects: Objects, size: tuple[int, int], *, as_bitmaps: bool, device: torch.device) -> InstanceData:
    result = InstanceData(
        labels=torch.from_numpy(objects.labels).to(device),
        scores=torch.from_numpy(objects.scores).to(device),
        bboxes=torch.from_numpy(objects.boxes).to(device),
    )
    result.masks = torch.from_numpy(decode_masks(objects.rles, size=size)).to(device) if as_bitmaps else objects.rles
    return result
