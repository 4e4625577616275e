"""What a prediction writes: visualisations, COCO files, and the files of other programs."""

from solo.inference.writers.predictions import PREDICTIONS_FILE, PredictionWriter

__all__ = ["PREDICTIONS_FILE", "PredictionWriter"]
