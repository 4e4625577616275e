"""YOLO-seg by ultralytics, in an environment of its own: this file imports nothing of solo.

`python -m benchmarks.small_data.yolo train yolo26n-seg data.yaml FOLDER` trains from scratch with the defaults of the
package; nothing is downloaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from ultralytics import YOLO

from benchmarks.small_data.results import (
    MAX_DETECTIONS,
    Detections,
    detections_of_bitmaps,
    prediction_options,
    write_predictions,
)

LOWEST_SCORE = 0.001  # that of ultralytics' own validation


def train(arguments: argparse.Namespace) -> None:
    """Train on one thread; the last epoch's weights are `FOLDER/weights/last.pt`."""
    model = YOLO(f"{arguments.model}.yaml", task="segment")
    model.train(
        data=arguments.data,
        epochs=arguments.epochs,
        imgsz=arguments.size,
        batch=arguments.batch_size,
        seed=arguments.seed,
        device="cpu",
        workers=0,
        val=False,
        plots=False,
        exist_ok=True,
        project=str(arguments.folder.parent.resolve()),
        name=arguments.folder.name,
    )


def predict(arguments: argparse.Namespace) -> None:
    """Predict masks at the resolution of the images."""
    model = YOLO(arguments.weights)

    def predict_image(path: Path) -> Detections:
        (found,) = model.predict(
            path,
            imgsz=arguments.size,
            conf=LOWEST_SCORE,
            max_det=MAX_DETECTIONS,
            retina_masks=True,
            device="cpu",
            verbose=False,
        )
        if found.masks is None:
            return []
        boxes = found.boxes
        return detections_of_bitmaps(boxes.cls.numpy().astype(int), boxes.conf.numpy(), found.masks.data.numpy())

    write_predictions(predict_image, arguments)


def main() -> None:
    """Train or predict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("model", help="such as yolo26n-seg")
    training.add_argument("data", help="data.yaml")
    training.add_argument("folder", type=Path)
    training.add_argument("--epochs", type=int, default=24)
    training.add_argument("--size", type=int, default=320)
    training.add_argument("--batch-size", type=int, default=4)
    training.add_argument("--seed", type=int, default=0)
    training.set_defaults(run=train)
    predicting = commands.add_parser("predict")
    predicting.add_argument("weights")
    predicting.add_argument("--size", type=int, default=416)
    prediction_options(predicting)
    predicting.set_defaults(run=predict)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
