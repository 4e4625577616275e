"""Prediction by tiles against prediction of the parts: mosaics of the images of a data set.

`python -m benchmarks.tiles CONFIG CHECKPOINT --rows 4 --columns 4` joins validation images to mosaics, in which no tile
ends where an image does, and compares the mask AP of three: the single images, the mosaics by tiles, and the mosaics
predicted whole at the size of one tile. It prints the seconds and the peak memory of each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo import SOLOPredictor
from solo.config import load_config
from solo.engine.data_loader import inner_datasets
from solo.images.reading import read_image
from solo.masks.column_runs import runs_from_bitmaps
from solo.masks.rle import encode_runs
from solo.registry import DATASETS


class Scene(NamedTuple):
    """An image and its objects: category, left column, top row and pixels of each."""

    image: npt.NDArray[np.uint8]
    objects: list[tuple[int, int, int, npt.NDArray[np.uint8]]]


def read_scenes(config_path: str, *, data_root: str | None = None) -> list[Scene]:
    """Read the validation images of a config with their objects."""
    config = load_config(config_path)
    dataset = config.val_dataloader.dataset
    if data_root is not None:
        dataset.data_root = data_root
    (found,) = inner_datasets(DATASETS.build(dataset))
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO(found.ann_file)
    labels = {category: label for label, category in enumerate(sorted(annotations.getCatIds()))}
    scenes = []
    for index in range(len(found)):
        info = found.get_data_info(index)
        objects = []
        for each in annotations.loadAnns(annotations.getAnnIds(info["img_id"], iscrowd=False)):
            mask = annotations.annToMask(each)
            left, top, width, height = cv2.boundingRect(mask)
            objects.append((labels[each["category_id"]], left, top, mask[top : top + height, left : left + width]))
        scenes.append(Scene(read_image(info["img_path"]), objects))
    return scenes


def join_scenes(scenes: Sequence[Scene], *, rows: int, columns: int) -> Iterator[Scene]:
    """Join images of one size to mosaics; those that do not fill one are left out."""
    height, width = scenes[0].image.shape[:2]
    same = [scene for scene in scenes if scene.image.shape[:2] == (height, width)]
    for start in range(0, len(same) - rows * columns + 1, rows * columns):
        image = np.zeros((rows * height, columns * width, 3), np.uint8)
        objects = []
        for index, scene in enumerate(same[start : start + rows * columns]):
            top, left = index // columns * height, index % columns * width
            image[top : top + height, left : left + width] = scene.image
            objects += [(label, left + x, top + y, mask) for label, x, y, mask in scene.objects]
        yield Scene(image, objects)


def evaluate(predictor: SOLOPredictor, scenes: Sequence[Scene], *, max_dets: int, **options: Any) -> dict[str, Any]:
    """Predict scenes and compute their mask AP by pycocotools.

    Args:
        predictor: the model.
        scenes: the images.
        max_dets: detections of a class that count in an image.
        options: of the predictor's call.

    Returns:
        images, objects, mask_ap, seconds an image, peak_mb of the process.
    """
    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    seconds = 0.0
    for number, scene in enumerate(scenes, start=1):
        height, width = scene.image.shape[:2]
        images.append(dict(id=number, height=height, width=width))
        runs = runs_from_bitmaps((each[1:] for each in scene.objects), height=height, width=width)
        for (label, *_), area, rle in zip(scene.objects, runs.areas().tolist(), encode_runs(runs), strict=True):
            values = dict(id=len(truth) + 1, image_id=number, category_id=label + 1, segmentation=rle, iscrowd=0)
            truth.append(dict(values, area=area, bbox=[0, 0, 1, 1]))
        start = time.perf_counter()
        found = predictor(scene.image, **options)
        seconds += time.perf_counter() - start
        results += found.to_coco(image_id=number)
    categories = [dict(id=index, name=name) for index, name in enumerate(predictor.classes, start=1)]
    return dict(
        images=len(images),
        objects=len(truth),
        found=sum(each["score"] > 0.3 for each in results),
        mask_ap=_mask_ap(dict(images=images, annotations=truth, categories=categories), results, max_dets=max_dets),
        seconds=seconds / len(images),
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _mask_ap(truth: dict[str, Any], results: list[dict[str, Any]], *, max_dets: int) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = truth
        ground_truth.createIndex()
        evaluator = COCOeval(ground_truth, ground_truth.loadRes(results), "segm")
        evaluator.params.maxDets = [max_dets]
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"]
    return float(precision[precision > -1].mean())


def main() -> int:
    """Run the comparison with the words of the process and print it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiles", description=__doc__)
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--data-root", help="folder of the data set (default: the config's)")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--mosaics", type=int, help="how many (default: as many as the images give)")
    parser.add_argument("--tile", type=int, help="of the mosaics (default: the config's)")
    parser.add_argument("--overlap", type=float, help="(default: the config's, or 0.2)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the images and mosaics (default: %(default)s)")
    parser.add_argument("--max-dets", type=int, default=400, help="of a single image (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the rows there too")
    arguments = parser.parse_args()
    scenes = read_scenes(arguments.config, data_root=arguments.data_root)
    parts = arguments.rows * arguments.columns
    mosaics = list(join_scenes(scenes, rows=arguments.rows, columns=arguments.columns))[: arguments.mosaics]
    scenes = scenes[: parts * len(mosaics)]
    predictor = SOLOPredictor(
        arguments.config,
        arguments.checkpoint,
        device="cpu",
        tile=arguments.tile,
        overlap=arguments.overlap,
        tile_scale=arguments.scale,
    )
    cases = {
        "single images": (scenes, arguments.max_dets, {}),
        "mosaics by tiles": (mosaics, arguments.max_dets * parts, {}),
        "mosaics whole": (mosaics, arguments.max_dets * parts, dict(tile=0)),
    }
    rows = {}
    for name, (images, max_dets, options) in cases.items():
        rows[name] = evaluate(predictor, images, max_dets=max_dets, **options)
        print(name, json.dumps(rows[name]), flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
