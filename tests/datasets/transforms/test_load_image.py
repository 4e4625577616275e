"""LoadImage: what it adds to a sample. tests/images/ has the reading of files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from solo.datasets.transforms.load_image import LoadImage
from solo.errors import DataError
from solo.images.reading import UnreadableImageError

COLOR = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    assert cv2.imwrite(str(tmp_path / "a.png"), COLOR)
    return tmp_path / "a.png"


def test_a_file_is_read(path: Path) -> None:
    results = LoadImage()(dict(img_path=str(path), height=12, width=20))
    np.testing.assert_array_equal(results["img"], COLOR)
    assert results["ori_shape"] == results["img_shape"] == (12, 20)


def test_another_size_than_the_annotated_one_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="20 x 12 pixels, but its annotation says 30 x 40") as caught:
        LoadImage()(dict(img_path=str(path), height=40, width=30))
    assert not isinstance(caught.value, UnreadableImageError)


def test_limit_of_pixels(path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="more than 239"):
        LoadImage(max_pixels=239)(dict(img_path=str(path)))


@pytest.mark.parametrize("given", [COLOR, np.dstack([COLOR, COLOR[..., :1]])])
def test_array_instead_of_a_path(given: np.ndarray) -> None:
    results = LoadImage()(dict(img=given))
    np.testing.assert_array_equal(results["img"], COLOR)
    assert results["ori_shape"] == (12, 20)


@pytest.mark.parametrize("given", [np.zeros((4, 4, 3)), np.zeros(4, np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_unusable_array(given: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected"):
        LoadImage()(dict(img=given))


def test_channels_and_scaling(tmp_path: Path) -> None:
    deep = np.arange(12 * 20 * 4, dtype=np.uint16).reshape(12, 20, 4)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep)
    load = LoadImage(channels=4, value_range=[0, 959])
    results = load(dict(img_path=str(tmp_path / "deep.png"), height=12, width=20))
    np.testing.assert_array_equal(results["img"], np.rint(deep / 959 * 255))
    assert results["img_shape"] == (12, 20)
    again = load(dict(img=results["img"]))
    np.testing.assert_array_equal(again["img"], results["img"])


@pytest.mark.parametrize(
    "options",
    [
        dict(channels=0),
        dict(channels=True),
        dict(channels=65),
        dict(value_range=(5, 5)),
        dict(value_range=(0, float("nan"))),
        dict(value_range=4095),
        dict(percentiles=(-1, 99)),
        dict(percentiles=(1, 99), value_range=(0, 9)),
    ],
)
def test_options_that_make_no_sense(options: dict) -> None:
    with pytest.raises(ValueError, match=r"channels|value_range|percentiles"):
        LoadImage(**options)
