"""The shapes dataset: a small instance segmentation problem, generated on first use and written as COCO files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from mmengine.logging import print_log
from pycocotools import mask as coco_mask

from solo.datasets.coco.dataset import CocoInstances
from solo.datasets.shapes.rendering import CLASSES, BoolArray, RenderedObject, render_image
from solo.errors import DataError
from solo.registry import DATASETS

SHAPES_CLASSES = CLASSES

_VERSION = 1  # increment it when the same parameters give other images
_SPLITS = ("train", "val")
_MANIFEST = "manifest.json"
_POLYGON_MAGNIFICATION = 3


@DATASETS.register_module()
class Shapes(CocoInstances):
    """`CocoInstances` of the shapes dataset, generated below `data_root` when it is not there yet.

    Args:
        data_root: Folder of the dataset.
        num_train: Number of training images.
        num_val: Number of validation images.
        image_size: Side of an image in pixels.
        drawing_seed: Seed of the generated images.
        **options: Arguments of `CocoInstances`.

    Raises:
        DataError: `data_root` holds something else, or the dataset with other parameters.
    """

    def __init__(
        self,
        *,
        data_root: str = "data/shapes",
        num_train: int = 2000,
        num_val: int = 100,
        image_size: int = 160,
        drawing_seed: int = 0,
        **options: Any,
    ) -> None:
        ensure_shapes(data_root, num_train=num_train, num_val=num_val, image_size=image_size, seed=drawing_seed)
        super().__init__(data_root=data_root, **options)


def ensure_shapes(
    root: str | os.PathLike[str],
    *,
    num_train: int = 2000,
    num_val: int = 100,
    image_size: int = 160,
    seed: int = 0,
) -> Path:
    """Generate the shapes dataset in `root`, unless it is there with the same parameters.

    Writes `train/`, `val/`, `annotations/instances_{train,val}.json` and `manifest.json`. The folder appears whole or
    not at all, so several processes may call this at once. Existing files are never replaced.

    Args:
        root: Folder of the dataset.
        num_train: Number of training images.
        num_val: Number of validation images.
        image_size: Side of an image in pixels.
        seed: Seed; image i of a split depends on (seed, split, i) only.

    Returns:
        The folder.

    Raises:
        DataError: `root` is a file, or holds something else, or the dataset with other parameters.
    """
    root = Path(root)
    counts = {"train": num_train, "val": num_val}
    manifest = {"drawing_version": _VERSION, "image_size": image_size, "seed": seed, "images": counts}
    if _is_complete(root, manifest):
        return root
    is_empty = root.is_dir() and not any(root.iterdir())
    if os.path.lexists(root) and not is_empty:
        raise DataError(
            f"{root} holds something else than the shapes dataset with {manifest}; it is left untouched: give another "
            "data_root or move it away"
        )
    print_log(
        f"Generating the shapes dataset ({num_train} train and {num_val} val images of {image_size}x{image_size}) "
        f"into {root.absolute()}",
        logger="current",
    )
    root.parent.mkdir(parents=True, exist_ok=True)
    generated = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        generated.chmod(0o755)
        for split in _SPLITS:
            _generate_split(generated, split=split, count=counts[split], image_size=image_size, seed=seed)
        (generated / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        _publish(generated, root, manifest)
    finally:
        shutil.rmtree(generated, ignore_errors=True)
    return root


def _is_complete(root: Path, manifest: dict[str, Any]) -> bool:
    """Whether the dataset with these parameters is in a folder; other keys of its manifest do not matter."""
    path = root / _MANIFEST
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {**found, **manifest} == found


def _publish(generated: Path, root: Path, manifest: dict[str, Any]) -> None:
    """Move a finished folder to `root`, which does not exist or is empty; another process may have been faster."""
    try:
        generated.replace(root)
    except OSError:
        if not _is_complete(root, manifest):
            raise


def _generate_split(folder: Path, *, split: str, count: int, image_size: int, seed: int) -> None:
    (folder / split).mkdir()
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        rng = np.random.default_rng([seed, _SPLITS.index(split), index])
        pixels, objects = render_image(rng=rng, size=image_size)
        image = {"id": index + 1, "file_name": f"{index:06d}.png", "height": image_size, "width": image_size}
        _write_png(folder / split / str(image["file_name"]), pixels)
        images.append(image)
        for rendered in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **_annotate(rendered)})
    content = {
        "info": {"description": f"shapes, {split}: generated images"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)],
    }
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content, separators=(",", ":")))


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    path.write_bytes(encoded.tobytes())


def _annotate(rendered: RenderedObject) -> dict[str, Any]:
    """Annotation of a visible mask: polygons where they are exact, else RLE."""
    rle = coco_mask.encode(np.asfortranarray(rendered.mask, dtype=np.uint8))
    polygons = None if rendered.is_crowd else _trace_polygons(rendered.mask)
    return {
        "category_id": rendered.label + 1,
        "iscrowd": int(rendered.is_crowd),
        "area": int(coco_mask.area(rle)),
        "bbox": coco_mask.toBbox(rle).tolist(),
        "segmentation": polygons or {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
    }


def _trace_polygons(mask: BoolArray) -> list[list[float]] | None:
    """Outlines [x1, y1, ...] of the parts of a mask (H, W), or None when polygons cannot represent it (it has holes).

    The mask is magnified first, so that a vertex lies a sixth of a pixel inside the pixel's edge instead of in its
    centre: rasterised by the rules of COCO the polygon then gives back the very mask.
    """
    scale = _POLYGON_MAGNIFICATION
    magnified = np.kron(mask.astype(np.uint8), np.ones((scale, scale), np.uint8))
    outlines, _ = cv2.findContours(magnified, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for tolerance in (1.0, 0.0):
        simplified = [cv2.approxPolyDP(outline, tolerance, True).reshape(-1, 2) for outline in outlines]
        polygons = [np.round((outline + 0.5) / scale, 2).ravel().tolist() for outline in simplified]
        if min(map(len, polygons)) >= 6 and np.array_equal(_rasterise(polygons, mask.shape), mask):
            return polygons
    return None


def _rasterise(polygons: list[list[float]], shape: tuple[int, ...]) -> BoolArray:
    height, width = shape
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))), dtype=np.bool_)
