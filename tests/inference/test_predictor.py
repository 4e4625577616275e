"""SOLOPredictor on a model that knows one square."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from solo.errors import CheckpointError, ConfigError, DataError
from solo.inference.predictor import SOLOPredictor
from tests.helpers.fakes import CLASSES, SIDE, square_mask, write_checkpoint, write_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def predictor(config: Path, tmp_path: Path) -> SOLOPredictor:
    return SOLOPredictor(config, write_checkpoint(tmp_path / "weights.pth"), device="cpu")


def test_path_and_array_agree(predictor: SOLOPredictor, tmp_path: Path) -> None:
    path = tmp_path / "data" / "0.png"
    for image in (str(path), path, cv2.imread(str(path)), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)):
        instances = predictor(image)
        assert instances.labels.tolist() == [1]
        assert instances.boxes.tolist() == [[4, 4, 20, 20]]
        assert instances.classes == CLASSES
        np.testing.assert_array_equal(instances.to_bool()[0], square_mask())


def test_classes_and_mode(predictor: SOLOPredictor) -> None:
    assert predictor.classes == CLASSES
    assert not predictor.model.training
    assert predictor.device == torch.device("cpu")


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_list_keeps_its_order(predictor: SOLOPredictor, batch_size: int) -> None:
    images = [np.zeros((SIDE + index, SIDE, 3), np.uint8) for index in range(5)]
    results = predictor(images, batch_size=batch_size)
    assert [result.image_size for result in results] == [(SIDE + index, SIDE) for index in range(5)]
    assert predictor([]) == []


def test_config_object_and_pipeline_of_the_test_split(config: Path, tmp_path: Path) -> None:
    config.write_text(
        config.read_text().replace("test_pipeline = ", "steps = ")
        + "\ntest_dataloader = dict(dataset=dict(type='RepeatDataset', dataset=dict(pipeline=steps)))\n"
    )
    predictor = SOLOPredictor(Config.fromfile(config), write_checkpoint(tmp_path / "weights.pth"))
    assert len(predictor(tmp_path / "data" / "0.png")) == 1


def test_no_pipeline(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("test_pipeline = ", "other_steps = "))
    with pytest.raises(ConfigError, match="test_pipeline"):
        SOLOPredictor(config, write_checkpoint(tmp_path / "weights.pth"))


def test_missing_files(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.py"):
        SOLOPredictor(tmp_path / "nowhere.py", "x.pth")
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        SOLOPredictor(config, tmp_path / "nowhere.pth")


def test_missing_image(predictor: SOLOPredictor) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png"):
        predictor("nowhere.png")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_wrong_array(predictor: SOLOPredictor, image: np.ndarray) -> None:
    with pytest.raises(DataError, match="image given as an array"):
        predictor(image)


def test_wrong_batch_size(predictor: SOLOPredictor) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        predictor([], batch_size=0)


def test_checkpoint_of_other_classes_names_both(config: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "three.pth", num_classes=3, classes=("a", "b", "c"))
    with pytest.raises(CheckpointError, match=r"3 classes.*num_classes is 2"):
        SOLOPredictor(config, checkpoint)


def test_checkpoint_without_names_falls_back_to_the_config(config: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "nameless.pth", classes=None)
    assert SOLOPredictor(config, checkpoint).classes == ("class 0", "class 1")
    config.write_text(config.read_text() + "\ntest_dataloader['dataset']['classes'] = ['low', 'high']\n")
    assert SOLOPredictor(config, checkpoint).classes == ("low", "high")
    config.write_text(config.read_text() + "\ntest_dataloader['dataset']['classes'] = ['low']\n")
    with pytest.raises(ConfigError, match="1 classes"):
        SOLOPredictor(config, checkpoint)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_device_that_is_not_there(config: Path, tmp_path: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=device):
        SOLOPredictor(config, write_checkpoint(tmp_path / "weights.pth"), device=device)


@pytest.mark.parametrize("wrong", [None, 5, torch.zeros(4, 4, 3), [None], [[np.zeros((4, 4, 3), np.uint8)]]])
def test_what_is_no_image_is_named(predictor: SOLOPredictor, wrong: object) -> None:
    with pytest.raises(DataError, match=r"expected an image .* got (NoneType|int|Tensor|list)"):
        predictor(wrong)  # type: ignore[call-overload]
