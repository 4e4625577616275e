"""Prediction by tiles against prediction of the parts: mosaics of the images of a data set, or drawn scenes.

`python -m benchmarks.tiles CONFIG CHECKPOINT --rows 4 --columns 4` joins validation images to mosaics, in which no tile
ends where an image does, and compares the mask AP of three: the mosaics by tiles, the mosaics predicted whole at the
size of one tile, and the single images. `python -m benchmarks.tiles nuclei-nano --drawn 3000 --rows 12 --columns 16
--scale 0.64` does so with a scene of 6000 x 8000 pixels and 3,000 drawn objects. It prints the seconds of an image, and
the peak memory of the process before and after.

An object that the border of its image cuts is not the same object in a mosaic, where the neighbour's pixels go on:
often it touches one of the neighbour's. `mask_ap` counts such objects, `inner_mask_ap` ignores them in all three, with
the detections that lie on them. All detections count, `max_dets` for each image of a mosaic: COCO's limit for an image
would be reached by a mosaic alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scenes import Scene, draw_scenes, join_scenes, read_scenes
from solo import SOLOPredictor
from solo.datasets.coco.annotations import read_annotations
from solo.evaluation.average_precision import choose_backend, coco_precision
from solo.evaluation.detections import ImageDetections
from solo.inference.instances import Instances
from solo.masks.column_runs import runs_from_bitmaps
from solo.masks.rle import encode_runs

KILOBYTES_PER_MEGABYTE = 1024
SHOWN_SCORE = 0.3


def evaluate(
    predict: Callable[..., Instances], scenes: Sequence[Scene], *, classes: Sequence[str], max_dets: int, **options: Any
) -> dict[str, Any]:
    """Predict scenes and compute their mask AP.

    Args:
        predict: the model, such as a `SOLOPredictor`.
        scenes: the images.
        classes: class names.
        max_dets: detections of a class that count in an image.
        options: of the call.

    Returns:
        images, objects, found (detections above 0.3), mask_ap, inner_mask_ap (without objects at the borders of the
        images), seconds of an image, and the process's peak_mb_before and peak_mb of the prediction.
    """
    results: list[Instances] = []
    before = _peak_mb()
    start = time.perf_counter()
    for scene in scenes:
        results.append(predict(scene.image, **options))
    seconds, peak = time.perf_counter() - start, _peak_mb()
    detections = [
        ImageDetections.from_instances(
            number, dict(labels=each.labels, scores=each.scores, bboxes=each.boxes, masks=[*each.rles])
        )
        for number, each in enumerate(results, start=1)
    ]
    mask_ap, inner_mask_ap = (
        _mask_ap(scenes, detections, classes=classes, max_dets=max_dets, inner_only=inner_only)
        for inner_only in (False, True)
    )
    return dict(
        images=len(scenes),
        objects=sum(len(scene.objects) for scene in scenes),
        found=int(sum((each.scores > SHOWN_SCORE).sum() for each in results)),
        mask_ap=mask_ap,
        inner_mask_ap=inner_mask_ap,
        seconds=seconds / len(scenes),
        peak_mb_before=before,
        peak_mb=peak,
    )


def _mask_ap(
    scenes: Sequence[Scene],
    detections: Sequence[ImageDetections],
    *,
    classes: Sequence[str],
    max_dets: int,
    inner_only: bool,
) -> float:
    content = _ground_truth(scenes, classes, inner_only=inner_only)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        path.write_text(json.dumps(content))
        truth = list(read_annotations(path, for_evaluation=True).annotated_images())
    precision = coco_precision(
        truth, detections, name="segm", num_classes=len(classes), max_dets=max_dets, backend=choose_backend("auto")
    )[..., 0]  # objects of all areas
    return float(precision[precision > -1].mean())


def _ground_truth(scenes: Sequence[Scene], classes: Sequence[str], *, inner_only: bool) -> dict[str, Any]:
    """The objects in COCO's format; those to ignore as crowds, which excuse the detections on them."""
    images, annotations = [], []
    for number, scene in enumerate(scenes, start=1):
        height, width = scene.image.shape[:2]
        images.append(dict(id=number, file_name="", height=height, width=width))
        placed = ((each.left, each.top, each.mask) for each in scene.objects)
        rles = encode_runs(runs_from_bitmaps(placed, height=height, width=width))
        for each, rle in zip(scene.objects, rles, strict=True):
            box = [each.left, each.top, each.mask.shape[1], each.mask.shape[0]]
            values = dict(image_id=number, category_id=each.label + 1, segmentation=rle, bbox=box)
            is_ignored = int(inner_only and each.is_at_border)
            annotations.append(dict(values, id=len(annotations) + 1, iscrowd=is_ignored))
    categories = [dict(id=index, name=name) for index, name in enumerate(classes, start=1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KILOBYTES_PER_MEGABYTE


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiles", description=__doc__)
    parser.add_argument("config", help="config, or alone a model that needs no checkpoint, such as nuclei-nano")
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--drawn", type=int, metavar="OBJECTS", help="draw so many objects, instead of reading images")
    parser.add_argument("--data-root", help="folder of the data set (default: the config's)")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--mosaics", type=int, help="how many (default: as many as the images give; 1 of drawn ones)")
    parser.add_argument("--tile", type=int, help="of the mosaics (default: the config's)")
    parser.add_argument("--overlap", type=float, help="(default: the config's, or 0.2)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the images and mosaics (default: %(default)s)")
    parser.add_argument("--max-dets", type=int, default=400, help="of a single image (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the rows there too")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the comparison with the words of the process and print it as JSON."""
    arguments = _parse(words)
    parts = arguments.rows * arguments.columns
    if arguments.drawn is None:
        scenes = read_scenes(arguments.config, data_root=arguments.data_root)
    else:
        count = parts * (arguments.mosaics or 1)
        scenes = draw_scenes(count=count, objects=arguments.drawn * (arguments.mosaics or 1))
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
    cases: dict[str, tuple[list[Scene], int, dict[str, Any]]] = {
        # First, so that the peak of the memory is theirs.
        "mosaics by tiles": (mosaics, arguments.max_dets * parts, {}),
        "mosaics whole": (mosaics, arguments.max_dets * parts, dict(tile=0)),
        "single images": (scenes, arguments.max_dets, {}),
    }
    rows = {}
    for name, (images, max_dets, options) in cases.items():
        rows[name] = evaluate(predictor, images, classes=predictor.classes, max_dets=max_dets, **options)
        print(name, json.dumps(rows[name]), flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
