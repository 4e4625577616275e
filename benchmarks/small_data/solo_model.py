"""Prediction by solo; training is `solo train`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.small_data.results import Detections, prediction_options, write_predictions
from solo import SOLOPredictor


def main() -> None:
    """Predict with a config and a checkpoint, as the config says: by tiles, or images whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    prediction_options(parser)
    arguments = parser.parse_args()
    predictor = SOLOPredictor(arguments.config, arguments.checkpoint, device="cpu")

    def predict(path: Path) -> Detections:
        found = predictor(path)
        columns = zip(found.labels.tolist(), found.scores.tolist(), found.rles, strict=True)
        return [dict(label=label, score=score, segmentation=rle) for label, score, rle in columns]

    write_predictions(predict, arguments)


if __name__ == "__main__":
    main()
