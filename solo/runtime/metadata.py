"""What an exported file says about itself: one JSON object, whatever the format. `ModelMetadata` defines and checks it.

It is stored under the name `METADATA_KEY`: an entry of ONNX's `metadata_props`, an entry of OpenVINO's `rt_info`, an
extra file of a .pt2 archive. Files are untrusted: every size is checked before anything is allocated by it.

**Input** of both contracts: `images` (B, C, H, W) uint8 of `channels` channels, the first three in the order
`channel_order`, further ones as in the file. The graph normalises. Images of more than 8 bits are scaled by
`value_range` or by the `percentiles` of each channel, as `solo.images.pixels.PixelFormat` says.
Each image is resized as `resized_size` says (OpenCV's bilinear interpolation, the default of `cv2.resize`), then padded
at the bottom and right with the colour `pad_value` to the size that `padded_size` gives for all images of the batch.
Pixels of exactly this colour become exactly zero, as the padding of training is.

**Outputs of "detections"**, with D = `max_detections`, h = H / 4, w = W / 4, rows by descending score:

| name | shape and dtype | content |
|---|---|---|
| scores | (B, D) float32 | of each detection; 0 where there is none |
| labels | (B, D) int64 | index into `classes`; -1 where there is none |
| boxes | (B, D, 4) float32 | x1 y1 x2 y2 around the stride-4 mask, pixels of the input; zeros where there is none |
| masks | (B, D, h, w) uint8 | round(255 * probability); zeros where there is none |

To get what `SOLOPredictor` gives, take the rows with a label of at least 0 and divide their masks by 255 in float32. If
`largest_component` says so, set the pixels larger than `mask_thr` outside of the largest 8-connected component to 0.
Resize the masks as `solo.masks.resize.resize_masks` does (both interpolations as one with three taps an axis: from
stride 4 to the input, cropped to the resized size, from there to the original one), keep pixels larger than `mask_thr`,
and take the boxes from the masks (`boxes` are coarse ones, for those who need no masks).

**Outputs of "raw"**, for SOLOv2 alone, with S the sum of `num_grids` squared, K = E * `kernel_size` ** 2:

| name | shape and dtype | content |
|---|---|---|
| cls_logits | (B, S, C) float32 | class logits of each cell, before the sigmoid; levels finest first, each row-major |
| kernels | (B, S, K) float32 | kernel of each cell, laid out as a convolution weight (E, k, k) |
| mask_feats | (B, E, h, w) float32 | mask features |

The rest is `solo.models.postprocess`: sigmoid, points NMS within each level, `score_thr`; masks are the sigmoid of the
mask features convolved with the kernels. Masks of more than `min_area_factor` times their level's stride pixels (those
larger than `mask_thr`) remain, with their scores multiplied by the mean probability inside the mask. The best `nms_pre`
enter Matrix NMS; of these the best `max_detections` with at least `filter_thr` are the detections. Ties: the lower cell
is first, then the lower class. Their masks are treated as those of "detections".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.errors import ConfigError, DataError, ExportedModelError, printable
from solo.images.pixels import PixelFormat
from solo.tiles import Tiles

METADATA_KEY = "solo"
CONTRACT_VERSION = 1
"""Raised when a program written for the earlier version would misread a file."""

INPUT_NAME = "images"
OUTPUT_NAMES = {
    "detections": ("scores", "labels", "boxes", "masks"),
    "raw": ("cls_logits", "kernels", "mask_feats"),
}
CONTRACTS = tuple(OUTPUT_NAMES)
CHANNEL_ORDERS = ("RGB", "BGR")
PRECISIONS = ("float32", "float16", "int8")
NMS_KERNELS = ("gaussian", "linear")
RESIZES = ("none", "edges", "fit", "exact")
MASK_STRIDE = 4
# Absent from earlier files, for which the defaults hold.
_ADDED_LATER = {"channels", "value_range", "percentiles", "tiles", "largest_component"}

MAX_JSON_BYTES = 2**23
MAX_CLASSES = 100_000
MAX_NAME_LENGTH = 1_000
MAX_LEVELS = 16
MAX_SIDE = 2**15
"""Of a fixed or padded input, pixels."""
MAX_CELLS_PER_SIDE = 512
MAX_CANDIDATES = 100_000


@dataclass(frozen=True, kw_only=True)
class PostprocessSettings:
    """Settings of the post-processing, as `solo.models.postprocess.SOLOv2PostProcessor` has them.

    Attributes:
        num_grids: cells along a side of each level, finest first.
        strides: of each level, pixels; for the area filter.
        score_thr, mask_thr, min_area_factor, nms_pre, filter_thr: as there.
        max_detections: D, the most detections of an image.
        nms_kernel: "gaussian" or "linear".
        nms_sigma: width of the gaussian kernel.
        largest_component: as there; of both contracts the program that runs the file does it.
    """

    num_grids: tuple[int, ...]
    strides: tuple[int, ...]
    score_thr: float
    mask_thr: float
    min_area_factor: float
    nms_pre: int
    filter_thr: float
    max_detections: int
    nms_kernel: str
    nms_sigma: float
    largest_component: bool = False

    def __post_init__(self) -> None:
        levels = len(self.num_grids)
        _check_tuple(self.num_grids, "num_grids", lengths=range(1, MAX_LEVELS + 1), most=MAX_CELLS_PER_SIDE)
        _check_tuple(self.strides, "strides", lengths=range(levels, levels + 1), most=MAX_SIDE)
        for name in ("score_thr", "mask_thr", "min_area_factor", "filter_thr", "nms_sigma"):
            _check_number(getattr(self, name), name)
        _check_integer(self.nms_pre, "nms_pre", most=MAX_CANDIDATES)
        _check_integer(self.max_detections, "max_detections", most=MAX_CANDIDATES)
        _check_choice(self.nms_kernel, "nms_kernel", NMS_KERNELS)
        if type(self.largest_component) is not bool:
            raise _error("largest_component", "true or false", self.largest_component)


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """All that a program needs beside the graph. Its JSON form has these names.

    Attributes:
        contract: "detections" or "raw", see the module.
        contract_version: `CONTRACT_VERSION` of the program that wrote the file.
        solo_version: version of solo that wrote it.
        architecture: class of the network's head, for information.
        classes: names, in the order of the labels.
        channel_order: of `images`, "RGB" or "BGR".
        mean, std: of the normalisation in the graph, in units of 0 to 255, for information.
        pad_value: colour of the padding, in `channel_order`.
        resize: "none"; "edges", keeping the aspect ratio, as large as possible with a short and a long side of at most
            those of `resize_size`; "fit", keeping it, as large as possible within `resize_size`; "exact", to it.
        resize_size: (height, width), of "edges" (short, long), in pixels; None for "none".
        size_divisor: H and W are multiples of it.
        min_size: least H and W.
        input_size: (H, W) where the graph takes this size alone; None where it takes every size.
        batch_size: B where the graph takes this many images alone; None where it takes any number.
        channels: of `images`; 1 is grayscale.
        value_range: (low, high), the values of images of more than 8 bits that become 0 and 255; None for their range.
        percentiles: (low, high) in percent, whose values in each channel become 0 and 255; None for none.
        tiles: how images are cut into tiles, in place of `resize`, by `solo.tiles`; None for whole images.
        mask_channels: E; None for contract "detections".
        kernel_size: k; None for contract "detections".
        precision: "float32", "float16" or "int8", of the convolutions.
        postprocess: settings of the post-processing; in the graph of contract "detections".
        checkpoint_sha256: of the checkpoint file, hexadecimal.
        config: text of the config, for information; never evaluated.
        weights_licence: licence of the weights, for information; empty if unknown.

    Raises:
        ExportedModelError: a value is missing, of another type or out of its bounds.
    """

    contract: str
    contract_version: int = CONTRACT_VERSION
    solo_version: str
    architecture: str
    classes: tuple[str, ...]
    channel_order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad_value: tuple[int, ...]
    resize: str
    resize_size: tuple[int, ...] | None
    size_divisor: int
    min_size: int
    input_size: tuple[int, ...] | None = None
    batch_size: int | None = None
    channels: int = 3
    value_range: tuple[float, ...] | None = None
    percentiles: tuple[float, ...] | None = None
    tiles: Tiles | None = None
    mask_channels: int | None = None
    kernel_size: int | None = None
    precision: str = "float32"
    postprocess: PostprocessSettings
    checkpoint_sha256: str
    config: str
    weights_licence: str = ""

    def __post_init__(self) -> None:
        _check_choice(self.contract, "contract", CONTRACTS)
        _check_version(self.contract_version)
        self._check_texts()
        self._check_preprocessing()
        for name in ("mask_channels", "kernel_size"):
            if self.contract == "raw":
                _check_integer(getattr(self, name), name, most=MAX_SIDE)
            elif getattr(self, name) is not None:
                raise _error(name, "null for contract detections", getattr(self, name))
        if not isinstance(self.postprocess, PostprocessSettings):
            raise _error("postprocess", "an object", self.postprocess)
        if self.tiles is not None and not isinstance(self.tiles, Tiles):
            raise _error("tiles", "an object or null", self.tiles)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return OUTPUT_NAMES[self.contract]

    @property
    def num_cells(self) -> int:
        """S, cells of all levels."""
        return sum(side**2 for side in self.postprocess.num_grids)

    @property
    def pixel_format(self) -> PixelFormat:
        """How the values of image files become bytes."""
        return PixelFormat(channels=self.channels, value_range=self.value_range, percentiles=self.percentiles)

    def to_network(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(C, h, w) in the order of `images` from (h, w, C) BGR, or (h, w) of one channel."""
        channels = image.reshape(*image.shape[:2], self.channels).transpose(2, 0, 1)
        if self.channel_order != "RGB":
            return channels
        return channels[::-1] if self.channels == 3 else channels[[2, 1, 0, *range(3, self.channels)]]

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of this size is resized to, with mmcv's rounding.

        Raises:
            DataError: nothing of the image would be left, or it would not fit the input.
        """
        if self.resize_size is None:
            size = height, width
        elif self.resize == "exact":
            size = self.resize_size[0], self.resize_size[1]
        else:
            first, second = self.resize_size
            sides = (height, width) if self.resize == "fit" else sorted((height, width))
            factor = min(first / sides[0], second / sides[1])
            size = int(height * factor + 0.5), int(width * factor + 0.5)
        if min(size) < 1 or max(size) > MAX_SIDE:
            raise DataError(
                f"an image of {width} x {height} pixels would be {size[1]} x {size[0]} (width x height) as input "
                f"of the network; expected 1 to {MAX_SIDE}"
            )
        return size

    def padded_size(self, sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """The (H, W) of a batch of resized images of these (height, width).

        Raises:
            DataError: an image is larger than the one size that the graph takes.
        """
        sizes = list(sizes)
        height, width = (max([self.min_size, *(size[axis] for size in sizes)]) for axis in (0, 1))
        if self.input_size is None:
            return height + -height % self.size_divisor, width + -width % self.size_divisor
        if height > self.input_size[0] or width > self.input_size[1]:
            raise DataError(
                f"an image of {width} x {height} pixels does not fit the model's input of {self.input_size[1]} x "
                f"{self.input_size[0]} (width x height)"
            )
        return self.input_size[0], self.input_size[1]

    def to_json(self) -> str:
        """As JSON; `from_json` is the inverse."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelMetadata:
        """Read the JSON form.

        Raises:
            ExportedModelError: it is no JSON object, too long, or a value is wrong, missing or unknown.
        """
        if len(text) > MAX_JSON_BYTES:
            raise ExportedModelError(f"metadata: {len(text)} bytes, expected at most {MAX_JSON_BYTES}")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise ExportedModelError("metadata: not JSON") from None
        if isinstance(values, dict) and "contract_version" in values:
            _check_version(values["contract_version"])  # first of all: another version may have other fields
        options = _arguments(values, cls, "metadata")
        options["postprocess"] = PostprocessSettings(
            **_arguments(options["postprocess"], PostprocessSettings, "metadata.postprocess")
        )
        if options.get("tiles") is not None:
            try:
                options["tiles"] = Tiles(**_arguments(options["tiles"], Tiles, "metadata.tiles"))
            except ConfigError as error:
                raise ExportedModelError(f"metadata: {printable(str(error))}") from None
        return cls(**options)

    def _check_texts(self) -> None:
        for name in ("solo_version", "architecture", "checkpoint_sha256", "config", "weights_licence"):
            if not isinstance(getattr(self, name), str):
                raise _error(name, "a text", getattr(self, name))
        classes = self.classes
        if not isinstance(classes, tuple) or not 0 < len(classes) <= MAX_CLASSES:
            raise _error("classes", f"1 to {MAX_CLASSES} names", classes)
        for name in classes:
            if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH:
                raise _error("classes", f"names of at most {MAX_NAME_LENGTH} characters", name)

    def _check_preprocessing(self) -> None:
        _check_choice(self.channel_order, "channel_order", CHANNEL_ORDERS)
        _check_choice(self.precision, "precision", PRECISIONS)
        _check_choice(self.resize, "resize", RESIZES)
        try:
            self.pixel_format  # noqa: B018  # checks the values
        except (TypeError, ValueError) as error:
            raise ExportedModelError(f"metadata: {printable(str(error))}") from None
        if self.channel_order == "RGB" and self.channels < 3:
            raise _error("channel_order", f"BGR for {self.channels} channels", self.channel_order)
        each, pair = range(self.channels, self.channels + 1), range(2, 3)
        _check_tuple(self.pad_value, "pad_value", lengths=each, least=0, most=255)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) != self.channels:
                raise _error(name, f"{self.channels} numbers", values)
            for value in values:
                _check_number(value, name, may_be_negative=name == "mean")
        _check_integer(self.size_divisor, "size_divisor", most=1024)
        _check_integer(self.min_size, "min_size", most=1024)
        if (self.resize_size is None) != (self.resize == "none"):
            raise _error("resize_size", f"{'null' if self.resize == 'none' else 'a size'}", self.resize_size)
        for name in ("resize_size", "input_size"):
            if getattr(self, name) is not None:
                _check_tuple(getattr(self, name), name, lengths=pair, most=MAX_SIDE)
        if self.input_size is not None and any(side % self.size_divisor for side in self.input_size):
            raise _error("input_size", f"multiples of {self.size_divisor}", self.input_size)
        if self.batch_size is not None:
            _check_integer(self.batch_size, "batch_size", most=MAX_CANDIDATES)


def _arguments(values: Any, record: type[Any], name: str) -> dict[str, Any]:
    """Arguments of a dataclass from a JSON object: all fields must be there, and no other; lists become tuples."""
    if not isinstance(values, Mapping):
        raise ExportedModelError(f"{name}: expected an object, found {type(values).__name__}")
    names = [field.name for field in fields(record)]
    missing = [key for key in names if key not in values and key not in _ADDED_LATER]
    unknown = [key for key in values if key not in names]
    if missing or unknown:
        problem = f"{missing[0]!r} is missing" if missing else f"{printable(unknown[0])!r:.80} is unknown"
        raise ExportedModelError(f"{name}: {problem}; export the checkpoint again")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _check_version(version: Any) -> None:
    if type(version) is not int or version != CONTRACT_VERSION:
        raise ExportedModelError(
            f"metadata: contract_version is {version!r:.40}, this version of solo reads {CONTRACT_VERSION}; "
            "export the checkpoint again"
        )


def _error(name: str, expected: str, found: Any) -> ExportedModelError:
    return ExportedModelError(f"metadata: {name} must be {expected}, found {printable(repr(found)[:80])}")


def _check_integer(value: Any, name: str, *, least: int = 1, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise _error(name, f"an integer from {least} to {most}", value)


def _check_number(value: Any, name: str, *, may_be_negative: bool = False) -> None:
    is_number = type(value) in (int, float) and abs(value) <= 1e30 and math.isfinite(value)
    if not is_number or (value < 0 and not may_be_negative):
        raise _error(name, "a finite number" if may_be_negative else "a finite number of at least 0", value)


def _check_tuple(values: Any, name: str, *, lengths: range, least: int = 1, most: int) -> None:
    if not isinstance(values, tuple) or len(values) not in lengths:
        raise _error(name, f"a list of {lengths[0]} to {lengths[-1]} integers", values)
    for value in values:
        _check_integer(value, name, least=least, most=most)


def _check_choice(value: Any, name: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise _error(name, f"one of {', '.join(choices)}", value)
