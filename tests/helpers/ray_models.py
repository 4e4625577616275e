"""A model for tests in which the processes of a Ray cluster die."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from solo.registry import MODELS
from tests.helpers.fakes import OneSquareModel


@MODELS.register_module(force=True)
class MortalModel(OneSquareModel):
    """Takes `seconds` for an image, and kills its process at the third image once, if the file `deadly` exists."""

    def __init__(self, *, num_classes: int, seconds: float, deadly: str) -> None:
        super().__init__(num_classes=num_classes)
        self.seconds, self.deadly, self.seen = seconds, Path(deadly), 0

    def _predict(self, sample: Any) -> Any:
        time.sleep(self.seconds)
        self.seen += 1
        if self.seen == 3 and self.deadly.exists():
            self.deadly.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._predict(sample)


def make_mortal(config: Path, *, seconds: float) -> Path:
    """Change a config of `write_config` to this model; the deadly file is "deadly" beside it."""
    model = f'dict(type="MortalModel", num_classes=2, seconds={seconds}, deadly={str(config.parent / "deadly")!r})'
    text = config.read_text().replace("tests.helpers.fakes", "tests.helpers.ray_models")
    config.write_text(text.replace('dict(type="OneSquareModel", num_classes=2)', model))
    return config
