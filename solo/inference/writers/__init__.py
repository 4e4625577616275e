"""What a prediction writes: visualisations, COCO files, and the files of other programs."""

from solo.inference.writers.predictions import PREDICTIONS_FILE
from solo.inference.writers.results import ResultOptions, ResultWriter

__all__ = ["PREDICTIONS_FILE", "ResultOptions", "ResultWriter"]
