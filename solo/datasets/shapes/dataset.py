"""The shapes data set: a small instance segmentation problem, drawn on first use and written as COCO files."""

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
from solo.datasets.shapes.drawing import CLASSES, BoolArray, DrawnObject, draw_picture
from solo.errors import DataError
from solo.registry import DATASETS

SHAPES_CLASSES = CLASSES

_DRAWING_VERSION = 1  # raise it when the same parameters give other pictures
_SPLITS = ("train", "val")
_MANIFEST = "manifest.json"
_POLYGON_MAGNIFICATION = 3


@DATASETS.register_module()
class Shapes(CocoInstances):
    """`CocoInstances` of the shapes data set, drawn below `data_root` when it is not there yet.

    Args:
        data_root: Folder of the data set.
        num_train: Number of training pictures to draw.
        num_val: Number of validation pictures to draw.
        image_size: Side of a picture in pixels.
        drawing_seed: Seed of the drawing.
        **options: Arguments of `CocoInstances`.

    Raises:
        DataError: `data_root` holds something that was not drawn by this class.
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
    """Draw the shapes data set below `root` unless the one there was drawn with the same parameters.

    Writes `train/`, `val/`, `annotations/instances_{train,val}.json` and `manifest.json`. The folder appears whole or
    not at all, so several processes may call this at once.

    Args:
        root: Folder of the data set.
        num_train: Number of training pictures.
        num_val: Number of validation pictures.
        image_size: Side of a picture in pixels.
        seed: Seed; picture i of a split depends on (seed, split, i) only.

    Returns:
        The folder.

    Raises:
        DataError: `root` is not empty and was not drawn by this function.
    """
    root = Path(root)
    counts = {"train": num_train, "val": num_val}
    manifest = {"drawing_version": _DRAWING_VERSION, "image_size": image_size, "seed": seed, "images": counts}
    if _read_manifest(root) == manifest:
        return root
    _refuse_foreign_folder(root)
    print_log(
        f"Drawing the shapes data set ({num_train} train and {num_val} val pictures of {image_size}x{image_size}) "
        f"into {root.absolute()}",
        logger="current",
    )
    root.parent.mkdir(parents=True, exist_ok=True)
    drawn = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        drawn.chmod(0o755)
        for split in _SPLITS:
            _draw_split(drawn, split=split, count=counts[split], image_size=image_size, seed=seed)
        (drawn / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        _publish(drawn, root, manifest)
    finally:
        shutil.rmtree(drawn, ignore_errors=True)
    return root


def _read_manifest(root: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((root / _MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _refuse_foreign_folder(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file; the shapes data set needs a folder there")
    if root.is_dir() and any(root.iterdir()) and "drawing_version" not in (_read_manifest(root) or {}):
        raise DataError(
            f"{root} is not empty and holds no {_MANIFEST} of the shapes data set; "
            "it is left untouched: give another data_root or move it away"
        )


def _publish(drawn: Path, root: Path, manifest: dict[str, Any]) -> None:
    """Move a finished folder to `root`; another process may have been faster."""
    if root.exists() and _read_manifest(root) != manifest:
        outdated = Path(tempfile.mkdtemp(prefix=f".{root.name}-outdated-", dir=root.parent))
        root.replace(outdated)
        shutil.rmtree(outdated)
    try:
        drawn.replace(root)
    except OSError:
        if _read_manifest(root) != manifest:
            raise


def _draw_split(folder: Path, *, split: str, count: int, image_size: int, seed: int) -> None:
    (folder / split).mkdir()
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        rng = np.random.default_rng([seed, _SPLITS.index(split), index])
        picture, objects = draw_picture(rng=rng, size=image_size)
        image = {"id": index + 1, "file_name": f"{index:06d}.png", "height": image_size, "width": image_size}
        _write_png(folder / split / str(image["file_name"]), picture)
        images.append(image)
        for drawn in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **_annotate(drawn)})
    content = {
        "info": {"description": f"shapes, {split}: drawn pictures"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)],
    }
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content, separators=(",", ":")))


def _write_png(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    path.write_bytes(encoded.tobytes())


def _annotate(drawn: DrawnObject) -> dict[str, Any]:
    """Annotation of a visible mask: polygons where they say exactly the same as the mask, else RLE."""
    rle = coco_mask.encode(np.asfortranarray(drawn.mask, dtype=np.uint8))
    polygons = None if drawn.is_crowd else _trace_polygons(drawn.mask)
    return {
        "category_id": drawn.label + 1,
        "iscrowd": int(drawn.is_crowd),
        "area": int(coco_mask.area(rle)),
        "bbox": coco_mask.toBbox(rle).tolist(),
        "segmentation": polygons or {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
    }


def _trace_polygons(mask: BoolArray) -> list[list[float]] | None:
    """Outlines [x1, y1, ...] of the parts of a mask (H, W), or None when polygons cannot say it (it has holes).

    The mask is magnified first, so that a vertex lies a sixth of a pixel inside the pixel's edge instead of in its
    centre: rasterised by the rules of COCO the polygon then gives back the very mask.
    """
    scale = _POLYGON_MAGNIFICATION
    magnified = np.kron(mask.astype(np.uint8), np.ones((scale, scale), np.uint8))
    outlines, _ = cv2.findContours(magnified, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for tolerance in (1.0, 0.0):
        simplified = [cv2.approxPolyDP(outline, tolerance, True).reshape(-1, 2) for outline in outlines]
        polygons = [np.round((outline + 0.5) / scale, 2).ravel().tolist() for outline in simplified]
        if min(map(len, polygons)) >= 6 and np.array_equal(_rasterize(polygons, mask.shape), mask):
            return polygons
    return None


def _rasterize(polygons: list[list[float]], shape: tuple[int, ...]) -> BoolArray:
    height, width = shape
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))), dtype=np.bool_)
