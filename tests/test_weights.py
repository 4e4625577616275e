"""The models that come with solo: small, described, and able to do what their cards say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from solo.checkpoints.loading import load_checkpoint
from solo.checkpoints.published import find_model, model_names
from solo.inference.predictor import SOLOPredictor

LARGEST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def predictor() -> SOLOPredictor:
    return SOLOPredictor("nuclei-nano", device="cpu")


def test_there_is_one_for_nuclei() -> None:
    assert "nuclei-nano" in model_names()


@pytest.mark.parametrize("name", model_names())
def test_models_are_small_and_have_a_card(name: str) -> None:
    model = find_model(name)
    assert model.weights.stat().st_size <= LARGEST_BYTES
    card = (model.weights.parent / "README.md").read_text()
    for part in ("license:", "## Measured", "## Data", "## Limits"):
        assert part in card
    assert load_checkpoint(model.weights)["meta"]["dataset_meta"]["classes"]
    assert not re.search(r"['\"]/", model.config.read_text())  # no folder of the machine that trained it


def test_bright_discs_are_nuclei(predictor: SOLOPredictor) -> None:
    image = np.full((160, 200, 3), 12, np.uint8)
    centers = [(x, y) for x in (30, 75, 120, 165) for y in (30, 80, 130)]
    for number, center in enumerate(centers):
        cv2.circle(image, center, 8 + number % 4, (110, 110, 110), -1, cv2.LINE_AA)
    image = cv2.GaussianBlur(image, (0, 0), 1)
    found = predictor(image)
    found = found[found.scores > 0.383]  # the card's best threshold
    assert len(found) == len(centers)
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    for center in centers:
        assert np.linalg.norm(middles - center, axis=1).min() < 2


def test_it_counts_the_nuclei_of_real_images(predictor: SOLOPredictor, shared_data: Path) -> None:
    nuclei = shared_data / "nuclei256"
    content = json.loads((nuclei / "annotations" / "instances_val.json").read_text())
    for image in content["images"][:4]:
        expected = sum(one["image_id"] == image["id"] for one in content["annotations"])
        found = predictor(nuclei / "val" / Path(image["file_name"]).name)
        assert abs(int((found.scores > 0.3).sum()) - expected) <= max(3, 0.25 * expected)
