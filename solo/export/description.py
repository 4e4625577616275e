"""The metadata of an export, from config, checkpoint and options."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from solo import __version__
from solo.config.tiles import configured_tiles
from solo.errors import ExportError
from solo.export.graph import DetectionsGraph, ExportedGraph
from solo.export.options import ExportOptions
from solo.export.tracing import MIN_DYNAMIC_SIZE
from solo.models.postprocess import MatrixNMS, SOLOv2PostProcessor
from solo.models.preprocessor import SIZE_DIVISOR
from solo.ops.dynamic_conv import kernel_size
from solo.runtime.metadata import ModelMetadata, PostprocessSettings
from solo.tiles import Tiles


def describe_export(
    graph: ExportedGraph,
    *,
    config: Config,
    pipeline: Sequence[Mapping[str, Any]],
    checkpoint: Path,
    classes: Sequence[str],
    options: ExportOptions,
) -> ModelMetadata:
    """Compose the metadata.

    Args:
        graph: what is exported.
        config: of the model.
        pipeline: steps of its test pipeline.
        checkpoint: the file of the weights.
        classes: class names.
        options: of the export.

    Raises:
        ExportError: the test pipeline does something that the metadata cannot express.
    """
    model: Any = graph.model
    further: dict[str, Any] = _read_scaling(pipeline)
    if options.contract == "raw":
        channels = model.mask_feature.predictor.conv.out_channels
        kernels = model.head.kernel_predictor.out_channels
        further |= dict(mask_channels=channels, kernel_size=kernel_size(kernels, channels=channels))
    tiles = configured_tiles(config)
    _check_tiles(tiles, input_size=options.fixed_size)
    resize, resize_size = ("fit", options.size) if options.size else _read_resize(pipeline, config)
    # Only torch tells maps of one pixel from larger ones; the other formats take them all.
    is_restricted = options.format == "pt2" and options.fixed_size is None
    return ModelMetadata(
        contract=options.contract,
        solo_version=__version__,
        architecture=type(model.head).__name__,
        classes=tuple(classes),
        channel_order="RGB" if model.data_preprocessor.bgr_to_rgb else "BGR",
        mean=_floats(graph.mean),
        std=_floats(graph.std),
        channels=len(graph.mean),
        pad_value=tuple(map(int, _floats(graph.pad_value))),
        resize=resize,
        resize_size=resize_size,
        size_divisor=SIZE_DIVISOR,
        min_size=MIN_DYNAMIC_SIZE if is_restricted else SIZE_DIVISOR,
        input_size=options.fixed_size,
        batch_size=options.batch,
        tiles=tiles,
        **further,
        precision=options.precision,
        postprocess=read_settings(graph),
        checkpoint_sha256=_sha256(checkpoint),
        config=config.pretty_text,
        weights_licence=options.weights_licence,
    )


def _check_tiles(tiles: Tiles | None, *, input_size: tuple[int, int] | None) -> None:
    if tiles is not None and input_size is not None and tiles.size > min(input_size):
        raise ExportError(
            f"the config cuts images into tiles of {tiles.size} pixels, more than the input of {input_size[1]} x "
            f"{input_size[0]} (width x height): use --imgsz {tiles.size}, or --dynamic"
        )


def read_settings(graph: ExportedGraph) -> PostprocessSettings:
    """Read the settings of the post-processing.

    Raises:
        ExportError: it is not `SOLOv2PostProcessor` with `MatrixNMS`.
    """
    settings = graph.model.postprocess
    if type(settings) is not SOLOv2PostProcessor or type(settings.nms) is not MatrixNMS:
        raise ExportError(
            "the metadata describes SOLOv2PostProcessor with MatrixNMS, but the config has "
            f"{type(settings).__name__} with {type(getattr(settings, 'nms', None)).__name__}"
        )
    return PostprocessSettings(
        num_grids=settings.grid.num_grids,
        strides=settings.grid.strides,
        score_thr=float(settings.score_thr),
        mask_thr=float(settings.mask_thr),
        min_area_factor=float(settings.min_area_factor),
        nms_pre=settings.nms_pre,
        filter_thr=float(settings.filter_thr),
        max_detections=graph.max_detections if isinstance(graph, DetectionsGraph) else settings.max_per_img,
        nms_kernel=settings.nms.kernel,
        nms_sigma=float(settings.nms.sigma),
        largest_component=settings.largest_component,
    )


def _read_resize(pipeline: Sequence[Mapping[str, Any]], config: Config) -> tuple[str, tuple[int, int] | None]:
    """The rule of the metadata that the test pipeline follows, and its size."""
    steps = {str(step["type"]).rpartition(".")[2]: dict(step) for step in pipeline}
    unknown = [name for name in steps if name not in ("LoadImage", "Resize", "PackSample")]
    resize = steps.get("Resize", {})
    scale: Any = resize.get("scale")
    options = {**resize, "type": "Resize"}
    extra = set(options) - {"type", "scale", "keep_ratio"}
    if unknown or extra or len(steps) < len(pipeline) or (resize and scale is None):
        problem = unknown[0] if unknown else f"Resize with {', '.join(sorted(extra))}" if extra else "its Resize"
        raise ExportError(
            f"config {config.filename}: the test pipeline has {problem}; an exported file describes LoadImage, one "
            "Resize with scale and keep_ratio, and PackSample alone (or give an image size)"
        )
    if not resize:
        return "none", None
    width, height = (scale, scale) if isinstance(scale, int) else map(int, scale)
    if not resize.get("keep_ratio", False):
        return "exact", (height, width)
    return "edges", (min(width, height), max(width, height))


def _read_scaling(pipeline: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    """The scaling that the pipeline's LoadImage states."""
    load = next((step for step in pipeline if str(step["type"]).rpartition(".")[2] == "LoadImage"), {})
    names = ("value_range", "percentiles")
    return {name: tuple(map(float, load[name])) for name in names if load.get(name) is not None}


def _floats(values: Any) -> tuple[float, ...]:
    """Numbers as written in the config: float32 has no more digits."""
    return tuple(float(f"{value:.7g}") for value in values.flatten().tolist())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()
