"""Crowded scenes: what a model finds of 50 to 2,000 objects in an image, and how long it takes.

    python -m benchmarks.crowds [CONFIG CHECKPOINT] [--tile 320] [--tile-scale 1] [--json FILE]

The scenes are rendered: bright ellipses on a dark background that touch one another, as nuclei in fluorescence
microscopy do. All images have one size and three tenths of their pixels are objects, so the more objects, the smaller
they are. Each number of objects gives a row: width of an object in pixels, recall and precision at IoU 0.5 of the
detections from the score threshold up, mask AP of all detections, and milliseconds an image by stage. The default is
nuclei-nano, the model that comes with solo.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmengine.dataset import Compose

import solo.models.postprocess
import solo.tiles.prediction
from benchmarks.timing import Stages, TimedFunction
from solo import SOLOPredictor
from solo.cli.tile_options import add_tile_options, parse_tiles
from solo.datasets.coco.annotations import read_annotations
from solo.deployment import DeploymentOptions
from solo.errors import UserError
from solo.evaluation.average_precision import hotcoco_evaluation
from solo.evaluation.detections import ImageDetections
from solo.inference.instances import Instances
from solo.masks.column_runs import ColumnRuns, runs_from_bitmaps
from solo.masks.rle import encode_runs

COUNTS = (50, 100, 200, 500, 1000, 2000)
SIDE = 768
COVERED = 0.3
"""Share of the pixels that are objects; the mean area of an object follows from it."""
MOST_HIDDEN = 0.1
"""Share of an ellipse that others may hide."""
LEAST_VISIBLE = 0.6
"""Share of an ellipse that is inside the image and not hidden."""
STAGES = ("preprocess", "network", "decode", "nms", "resize and RLE", "join", "other")


class Scene(NamedTuple):
    """A rendered image (H, W, 3) BGR and its objects, which do not overlap."""

    image: npt.NDArray[np.uint8]
    objects: ColumnRuns


class _Ellipse(NamedTuple):
    """Squared distance from the centre of the pixels (h, w) around an ellipse, 1 at its border."""

    left: int
    top: int
    distance: npt.NDArray[np.float64]


def render_scene(count: int, *, side: int = SIDE, seed: int = 0) -> Scene:
    """Render `count` ellipses that touch and hide at most a tenth of one another.

    Args:
        count: number of objects.
        side: of the image, pixels.
        seed: of the random numbers; the same seed gives the same scene.
    """
    rng = np.random.default_rng((seed, count))
    canvas = 12 + 4 * cv2.resize(rng.normal(size=(8, 8)), (side, side), interpolation=cv2.INTER_CUBIC)
    is_free = np.ones((side, side), bool)
    windows: list[tuple[int, int, npt.NDArray[np.bool_]]] = []
    while len(windows) < count:
        ellipse = _random_ellipse(rng, area=COVERED * side**2 / count, side=side)
        top, left = max(ellipse.top, 0), max(ellipse.left, 0)
        distance = ellipse.distance[top - ellipse.top : side - ellipse.top, left - ellipse.left : side - ellipse.left]
        window = np.s_[top : top + distance.shape[0], left : left + distance.shape[1]]
        inside = distance <= 1
        visible = inside & is_free[window]
        whole = (ellipse.distance <= 1).sum()
        hidden = inside.sum() - visible.sum()
        if not visible.any() or hidden > MOST_HIDDEN * whole or visible.sum() < LEAST_VISIBLE * whole:
            continue
        is_free[window] &= ~visible
        shade = rng.uniform(70, 200) * (1 - 0.4 * distance)
        canvas[window][visible] = shade[visible]
        windows.append((left, top, visible))
    canvas = cv2.GaussianBlur(canvas, None, 0.7) + rng.normal(0, 3, canvas.shape)
    gray = canvas.round().clip(0, 255).astype(np.uint8)
    return Scene(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), runs_from_bitmaps(windows, height=side, width=side))


def _random_ellipse(rng: np.random.Generator, *, area: float, side: int) -> _Ellipse:
    """An ellipse of about this area whose centre is in the image."""
    radius = (area * rng.lognormal(0, 0.25) / np.pi) ** 0.5
    stretch = rng.uniform(1, 1.6) ** 0.5
    x, y = rng.uniform(0, side, 2)
    cos, sin = np.cos(angle := rng.uniform(0, np.pi)), np.sin(angle)
    reach = int(np.ceil(radius * stretch)) + 1
    left, top = int(x) - reach, int(y) - reach
    dy, dx = np.mgrid[: 2 * reach + 1, : 2 * reach + 1] + 0.5 - np.array([y - top, x - left])[:, None, None]
    along, across = (cos * dx + sin * dy) / (radius * stretch), (cos * dy - sin * dx) / (radius / stretch)
    return _Ellipse(left, top, along**2 + across**2)


def measure(
    predictor: SOLOPredictor, *, count: int, images: int, side: int = SIDE, score_thr: float = 0.3
) -> dict[str, Any]:
    """Predict scenes with `count` objects each.

    Args:
        predictor: a checkpoint's; its classes do not count.
        count: objects in a scene.
        images: number of scenes; one more, untimed, goes before.
        side: of the images, pixels.
        score_thr: lowest score of the detections of recall and precision.

    Returns:
        objects, width (mean diameter in pixels), recall, precision, mask_ap, and milliseconds: total and by stage.
    """
    scenes = [render_scene(count, side=side, seed=seed) for seed in range(images)]
    predictor(render_scene(count, side=side, seed=images).image)
    stages = Stages(_timed_functions(predictor.model))
    found, seconds = [], []
    for scene in scenes:
        stages.reset()
        with stages.timing(), stages.stage("other"):
            found.append(predictor(scene.image))
        seconds.append({name: stages.seconds[name] for name in STAGES})
    milliseconds = {name: 1000 * statistics.median(each[name] for each in seconds) for name in STAGES}
    width = float(np.mean([2 * (scene.objects.areas() / np.pi) ** 0.5 for scene in scenes]))
    return dict(
        objects=count,
        width=width,
        **evaluate(scenes, found, score_thr=score_thr),
        milliseconds=dict(total=sum(milliseconds.values()), **milliseconds),
    )


def _timed_functions(model: Any) -> list[TimedFunction]:
    return [
        TimedFunction(Compose, "__call__", "preprocess"),
        TimedFunction(model.data_preprocessor, "forward", "preprocess"),
        TimedFunction(model, "compute_outputs", "network"),
        TimedFunction(model, "postprocess", "decode"),
        TimedFunction(model.postprocess, "nms", "nms"),
        TimedFunction(solo.models.postprocess, "encode_resized", "resize and RLE"),
        TimedFunction(solo.tiles.prediction, "join_tiles", "join"),
    ]


def evaluate(scenes: Sequence[Scene], found: Sequence[Instances], *, score_thr: float) -> dict[str, float]:
    """Recall and precision at IoU 0.5 from the score threshold up, and mask AP, all detections counted."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        images.append(dict(id=number, file_name="", height=scene.objects.height, width=scene.objects.width))
        for rle, box in zip(encode_runs(scene.objects), scene.objects.tight_boxes().tolist(), strict=True):
            x, y, right, bottom = box
            shape = dict(segmentation=rle, bbox=[x, y, right - x, bottom - y])
            annotations.append(dict(shape, id=len(annotations) + 1, image_id=number, category_id=1, iscrowd=0))
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name="object")])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        path.write_text(json.dumps(content))
        truth = list(read_annotations(path, for_evaluation=True).annotated_images())
    detections = []
    for number, each in enumerate(found, start=1):
        columns = dict(labels=np.zeros(len(each), int), scores=each.scores, bboxes=each.boxes, masks=[*each.rles])
        detections.append(ImageDetections.from_instances(number, columns))
    most = max([1, *(len(each) for each in found)])
    evaluator = hotcoco_evaluation(truth, detections, num_classes=1, max_dets=most, by_area=False).evaluator
    precision = np.asarray(evaluator.eval["precision"])[..., -1]
    entries = [entry for entry in evaluator.eval_imgs if entry is not None]
    scores = np.concatenate([entry["dtScores"] for entry in entries])
    matched = np.concatenate([np.array(entry["dtMatched"], bool).reshape(10, -1)[0] for entry in entries])
    counts = scores >= np.float32(score_thr)
    correct = int((matched & counts).sum())
    return dict(
        recall=correct / len(annotations),
        precision=correct / max(int(counts.sum()), 1),
        mask_ap=float(precision[precision > -1].mean()),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crowds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default="nuclei-nano", help="config, or published model (nuclei-nano)")
    parser.add_argument("checkpoint", nargs="?", help="weights of the config")
    parser.add_argument(
        "--objects", type=int, nargs="+", default=COUNTS, help="numbers of objects (default: 50 ... 2000)"
    )
    parser.add_argument("--images", type=int, default=5, help="images of each number (default: %(default)s)")
    parser.add_argument("--side", type=int, default=SIDE, help="of the images, pixels (default: %(default)s)")
    parser.add_argument("--score-thr", type=float, default=0.3, help="of recall and precision (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads of the network (default: as `solo predict`)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file too")
    add_tile_options(parser)
    arguments = parser.parse_args()
    deployment = DeploymentOptions.recommended(torch.device("cpu"))
    if arguments.threads is not None:
        deployment = dataclasses.replace(deployment, threads=arguments.threads)
    if min(*arguments.objects, arguments.images, arguments.side) < 1:
        parser.error("--objects, --images and --side must be at least 1")
    try:
        predictor = SOLOPredictor(
            arguments.config, arguments.checkpoint, "cpu", deployment=deployment, **parse_tiles(arguments)
        )
    except UserError as error:
        parser.error(str(error))
    options = dict(images=arguments.images, side=arguments.side, score_thr=arguments.score_thr)
    print(f"{'objects':>7}{'width':>7}{'recall':>8}{'precision':>11}{'AP':>7}{'ms':>8}  of them")
    rows = []
    for count in arguments.objects:
        rows.append(measure(predictor, count=count, **options))
        print(_format(rows[-1]), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def _format(row: dict[str, Any]) -> str:
    stages = ", ".join(f"{name} {row['milliseconds'][name]:.0f}" for name in STAGES)
    found = f"{row['recall']:>8.3f}{row['precision']:>11.3f}{row['mask_ap']:>7.3f}"
    return f"{row['objects']:>7}{row['width']:>7.1f}{found}{row['milliseconds']['total']:>8.0f}  {stages}"


if __name__ == "__main__":
    main()
