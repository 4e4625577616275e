"""Train on a small data set from scratch by several toolboxes, one thread each, and compare.

    python -m benchmarks.small_data train solo WORK --data DATA_ROOT --seeds 0 1 2
    python -m benchmarks.small_data train yolo WORK --data DATA_ROOT --seeds 0 1 2 --yolo-python VENV/bin/python
    python -m benchmarks.small_data train mmdet WORK --data DATA_ROOT
    python -m benchmarks.small_data evaluate WORK --data DATA_ROOT --yolo-python VENV/bin/python
    python -m benchmarks.small_data picture WORK IMAGE.png --data DATA_ROOT --out picture.jpg

Training takes 10 to 25 minutes of one core each. CPU seconds are those of the training process, user and system. AP is
pycocotools' with at most 400 detections an image, at the resolution of the images.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.small_data.results import MAX_DETECTIONS

CROPS = "configs/nuclei/solov2-nano_crops_nuclei.py"
WHOLE = "configs/nuclei/solov2-nano_nuclei.py"
NO_WORKERS = tuple(
    f"{split}_dataloader.{option}"
    for split in ("train", "val")
    for option in ("num_workers=0", "persistent_workers=False")
)


class Contender(NamedTuple):
    """How a toolbox is trained and tested.

    Attributes:
        title: row of the table.
        train: (folder, seed, options) -> words of the training process.
        predict: (folder, options) -> words of the process that predicts, less those of `prediction_options`.
    """

    title: str
    train: Callable[[Path, int, argparse.Namespace], list[str]]
    predict: Callable[[Path, argparse.Namespace], list[str]]


def _train_solo(folder: Path, seed: int, options: argparse.Namespace) -> list[str]:
    settings = (f"randomness.seed={seed}", f"train_dataloader.dataset.seed={seed}", "train_cfg.val_begin=1000")
    command = [sys.executable, "-m", "solo", "train", CROPS, "--work-dir", os.fspath(folder)]
    return [*command, "--cfg-options", *NO_WORKERS, *settings]


def _predict_solo(folder: Path, options: argparse.Namespace) -> list[str]:
    checkpoint = (folder / "last_checkpoint").read_text().strip()
    return [sys.executable, "-m", "benchmarks.small_data.solo_model", CROPS, os.fspath(folder / Path(checkpoint).name)]


def _train_mmdet(folder: Path, seed: int, options: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.small_data.mmdetection", "train", WHOLE, os.fspath(folder)]
    return [*command, "--epochs", "10", "--seed", str(seed)]  # as many as cost what solo's training costs


def _predict_mmdet(folder: Path, options: argparse.Namespace) -> list[str]:
    return [sys.executable, "-m", "benchmarks.small_data.mmdetection", "predict", WHOLE, os.fspath(folder)]


def _train_yolo(folder: Path, seed: int, options: argparse.Namespace) -> list[str]:
    data = folder.parent / "yolo_data"
    if not data.exists():
        convert = [sys.executable, "-m", "solo", "data", "convert", os.fspath(options.data), os.fspath(data)]
        subprocess.run([*convert, "--to", "yolo", "--images", "link"], check=True)
    command = [options.yolo_python, "-m", "benchmarks.small_data.yolo", "train", "yolo26n-seg"]
    return [*command, os.fspath(data / "data.yaml"), os.fspath(folder), "--seed", str(seed)]


def _predict_yolo(folder: Path, options: argparse.Namespace) -> list[str]:
    weights = os.fspath(folder / "weights" / "last.pt")
    return [options.yolo_python, "-m", "benchmarks.small_data.yolo", "predict", weights]


CONTENDERS = {
    "solo": Contender("solo, crops and tiles", _train_solo, _predict_solo),
    "mmdet": Contender("mmdetection's SOLOv2, whole images", _train_mmdet, _predict_mmdet),
    "yolo": Contender("YOLO26n-seg", _train_yolo, _predict_yolo),
}


def train(options: argparse.Namespace) -> None:
    """Train a contender with each seed and write down the CPU seconds."""
    for seed in options.seeds:
        folder = options.work / f"{options.contender}_{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        words = CONTENDERS[options.contender].train(folder, seed, options)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, env=_environment(options), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        (folder / "training.json").write_text(json.dumps(dict(cpu_seconds=seconds)))
        print(f"{folder.name}: {seconds:.0f} CPU seconds", flush=True)


def evaluate(options: argparse.Namespace) -> None:
    """Predict by all that were trained, taking turns, and print and write the table."""
    annotations = options.data / "annotations" / "instances_val.json"
    rows = {}
    for contender, folder in _trained(options.work):
        words = CONTENDERS[contender].predict(folder, options)
        times = []
        for _ in range(options.rounds):
            out = folder / "predictions.json"
            words_of_files = ["--annotations", os.fspath(annotations), "--images", os.fspath(options.data / "val")]
            command = [*words, *words_of_files, "--out", os.fspath(out)]
            subprocess.run(command, env=_environment(options), check=True)
            times.append(json.loads(out.read_text())["milliseconds"])
        results = json.loads(out.read_text())["results"]
        training = json.loads((folder / "training.json").read_text())
        row = dict(training, milliseconds=min(times), **average_precision(annotations, results))
        rows.setdefault(contender, []).append(row)
    for contender, runs in rows.items():
        print(CONTENDERS[contender].title, json.dumps(spread(runs)), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def _trained(work: Path) -> Iterator[tuple[str, Path]]:
    for marker in sorted(work.glob("*/training.json")):
        yield marker.parent.name.rpartition("_")[0], marker.parent


def spread(runs: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Mean, lowest and highest value of each figure."""
    columns = {name: [run[name] for run in runs] for name in runs[0]}
    return {name: [statistics.mean(values), min(values), max(values)] for name, values in columns.items()}


def _environment(options: argparse.Namespace) -> dict[str, str]:
    root = os.fspath(Path(__file__).resolve().parents[2])
    return {**os.environ, "OMP_NUM_THREADS": "1", "DATA_ROOT": f"{options.data}/", "PYTHONPATH": root}


def average_precision(annotations: Path, results: list[dict[str, Any]]) -> dict[str, float]:
    """Mask AP by pycocotools, and boundary AP, of COCO results; 0 without any."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from solo.evaluation.boundary import BoundaryEvaluator

    found = {}
    for name, evaluator_type in (("mask_ap", COCOeval), ("boundary_ap", BoundaryEvaluator)):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(os.fspath(annotations))
            evaluator = evaluator_type(truth, truth.loadRes(copy.deepcopy(results)) if results else COCO(), "segm")
            evaluator.params.maxDets = [MAX_DETECTIONS]
            evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluator.evaluate()
            evaluator.accumulate()
        precision = evaluator.eval["precision"]
        found[name] = float(precision[precision > -1].mean())
    return found


def picture(options: argparse.Namespace) -> None:
    """Draw the image and what each contender found in it, side by side."""
    import cv2
    import numpy as np
    from pycocotools import mask as coco_mask

    content = json.loads((options.data / "annotations" / "instances_val.json").read_text())
    (image_id,) = (image["id"] for image in content["images"] if image["file_name"] == options.image)
    image = cv2.resize(cv2.imread(os.fspath(options.data / "val" / options.image)), None, fx=2, fy=2)
    panels = [image]
    first = dict(reversed(list(_trained(options.work))))
    for contender, folder in sorted(first.items()):
        panel = image.copy()
        results = json.loads((folder / "predictions.json").read_text())["results"]
        for found in results:
            if found["image_id"] != image_id or found["score"] < options.score_thr:
                continue
            mask = coco_mask.decode(found["segmentation"])
            mask = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
            outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(panel, outlines, -1, (60, 220, 255), 1)
        cv2.putText(panel, CONTENDERS[contender].title, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        panels.append(panel)
    cv2.imwrite(os.fspath(options.out), np.hstack(panels))


def main() -> int:
    """Run one step of the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.small_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(required=True)
    training = steps.add_parser("train")
    training.add_argument("contender", choices=CONTENDERS)
    training.add_argument("--seeds", type=int, nargs="+", default=[0])
    training.set_defaults(run=train)
    evaluating = steps.add_parser("evaluate")
    evaluating.add_argument("--rounds", type=int, default=3, help="how often all images are predicted, for the times")
    evaluating.add_argument("--json", type=Path, metavar="FILE")
    evaluating.set_defaults(run=evaluate)
    drawing = steps.add_parser("picture")
    drawing.set_defaults(run=picture)
    for step in (training, evaluating, drawing):
        step.add_argument("work", type=Path, help="folder of the trainings")
        step.add_argument(
            "--data", type=Path, required=True, help="annotations/instances_{train,val}.json, train/, val/"
        )
        step.add_argument("--yolo-python", help="interpreter of an environment with ultralytics")
    drawing.add_argument("image", help="name of a validation image")
    drawing.add_argument("--score-thr", type=float, default=0.3)
    drawing.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
