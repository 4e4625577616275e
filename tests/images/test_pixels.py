"""Channels and bit depths of images, from the file to the bytes that the network gets."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from solo.errors import DataError
from solo.images import pixels as pixels_module
from solo.images.pixels import PixelFormat, to_bgr
from solo.images.reading import UnreadableImageError, read_annotated_image, read_image, turn
from tests.helpers.paths import SHARED
from tests.helpers.tiff_files import tiff_bytes

RNG = np.random.default_rng(0)
SIZE = (12, 20)
CASE = SHARED / "cases" / "odd_images" / "e_gray12in16.tif"


def values(bands: int, dtype: Any, highest: int = 250) -> np.ndarray:
    return (RNG.random((*SIZE, bands)) * highest).astype(dtype)


def write_tiff(path: Path, stored: np.ndarray, **options: Any) -> Path:
    path.write_bytes(tiff_bytes(stored, **options))
    return path


@pytest.fixture(autouse=True)
def nothing_warned_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_module, "_warned", set())


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_four_bands_as_stored(tmp_path: Path, dtype: Any, extra: int) -> None:
    stored = values(4, dtype)
    path = write_tiff(tmp_path / "a.tif", stored, extra_samples=[extra])
    image = read_image(path, pixels=PixelFormat(channels=4, value_range=(0, 255)))
    np.testing.assert_array_equal(image, stored[..., [2, 1, 0, 3]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_eight_bands_in_the_order_of_the_file(tmp_path: Path, dtype: Any) -> None:
    pytest.importorskip("tifffile")
    stored = values(8, dtype)
    path = write_tiff(tmp_path / "a.tif", stored, extra_samples=[0] * 5)
    for channels in (8, 5):
        image = read_image(path, pixels=PixelFormat(channels=channels, value_range=(0, 255)))
        np.testing.assert_array_equal(image, np.rint(stored)[..., :channels])


def test_more_than_four_bands_without_tifffile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    path = write_tiff(tmp_path / "a.tif", values(6, np.uint8), extra_samples=[0] * 3)
    with pytest.raises(UnreadableImageError, match=r"it has 6 bands; more than 4 need tifffile: pip install 'solov2"):
        read_image(path, pixels=PixelFormat(channels=6))


def test_unusable_band_files(tmp_path: Path) -> None:
    pytest.importorskip("tifffile")
    content = tiff_bytes(values(6, np.uint8), extra_samples=[0] * 3)
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImageError):
        read_image(tmp_path / "a.tif", pixels=PixelFormat(channels=6))
    path = write_tiff(tmp_path / "b.tif", values(70, np.uint8), extra_samples=[0] * 67)
    with pytest.raises(UnreadableImageError, match="it has 70 bands, more than 64"):
        read_image(path, pixels=PixelFormat(channels=6))


def test_grayscale(tmp_path: Path) -> None:
    gray, color = values(1, np.uint8), values(3, np.uint8)
    assert cv2.imwrite(str(tmp_path / "gray.png"), gray)
    assert cv2.imwrite(str(tmp_path / "color.png"), color)
    one = PixelFormat(channels=1)
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png", pixels=one), gray)
    expected = cv2.cvtColor(color, cv2.COLOR_BGR2GRAY).astype(int)
    image = read_image(tmp_path / "color.png", pixels=one)
    assert abs(image[..., 0] - expected).max() <= 1
    np.testing.assert_array_equal(one.convert(color, "a"), image)


def test_too_few_channels(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), values(3, np.uint8))
    with pytest.raises(DataError, match=r"a\.png has 3 channels, expected 4 \(LoadImage\(channels=...\)\)") as caught:
        read_image(tmp_path / "a.png", pixels=PixelFormat(channels=4))
    assert not isinstance(caught.value, UnreadableImageError)  # which training would skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_bands(tmp_path: Path, orientation: int) -> None:
    """OpenCV turns colours; bands are turned alike."""
    stored = values(4, np.uint8)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    colors = read_image(tmp_path / "a.png")
    bands = read_image(tmp_path / "a.png", pixels=PixelFormat(channels=4))
    np.testing.assert_array_equal(bands[..., :3], colors)
    np.testing.assert_array_equal(turn(stored[..., 2::-1], orientation), colors)
    plain = read_annotated_image(tmp_path / "a.png", annotated=SIZE, pixels=PixelFormat(channels=4))
    if orientation >= 5:
        np.testing.assert_array_equal(plain, stored[..., [2, 1, 0, 3]])


def test_a_stated_range() -> None:
    deep = np.array([[0, 100, 2048, 4095, 60000]], np.uint16)
    image = PixelFormat(channels=1, value_range=(100, 4095)).convert(deep, "a")
    assert image[..., 0].tolist() == [[0, 0, round(255 * 1948 / 3995), 255, 255]]
    floats = np.array([[-1, 0, 0.5, 1, np.nan, np.inf]], np.float32)
    image = PixelFormat(channels=1, value_range=(0, 1)).convert(floats, "a")
    assert image[..., 0].tolist() == [[0, 0, 128, 255, 0, 255]]


def test_percentiles_of_each_channel() -> None:
    deep = np.stack([np.arange(101).reshape(1, -1), 1000 + 10 * np.arange(101).reshape(1, -1)], axis=-1)
    image = PixelFormat(channels=2, percentiles=(10, 90)).convert(deep.astype(np.uint16), "a")
    expected = np.rint(np.clip((np.arange(101) - 10) / 80, 0, 1) * 255)
    np.testing.assert_array_equal(image[0, :, 0], expected)
    np.testing.assert_array_equal(image[0, :, 1], expected)
    constant = PixelFormat(channels=1, percentiles=(1, 99)).convert(np.full((3, 3), 7, np.uint16), "a")
    assert not constant.any()
    nothing = PixelFormat(channels=1, percentiles=(1, 99)).convert(np.full((3, 3), np.nan, np.float32), "a")
    assert not nothing.any()


def test_bytes_are_taken_as_they_are() -> None:
    """So that what was scaled once is not scaled again."""
    image = values(3, np.uint8)
    for options in (dict(value_range=(0, 10)), dict(percentiles=(20, 80))):
        np.testing.assert_array_equal(PixelFormat(**options).convert(image, "a"), image)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32])
def test_other_numbers_need_a_range(dtype: Any) -> None:
    with pytest.raises(DataError, match=r"expected unsigned 8 or 16 bits, got .*: state its range by LoadImage"):
        PixelFormat().convert(values(3, dtype), "a")
    assert PixelFormat(value_range=(0, 250)).convert(values(3, dtype), "a").max() > 200


def test_twelve_bits_in_sixteen_are_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    deep = values(1, np.uint16, 4000)
    with caplog.at_level(logging.WARNING, logger="solo.images"):
        for name in ("a\x1b.tif", "b.tif"):
            PixelFormat().convert(deep, name)
        PixelFormat(value_range=(0, 4095)).convert(deep, "c.tif")
    (message,) = caplog.messages
    assert message.startswith(rf"image a\x1b.tif has 16 bits, but no value above {deep.max()}: scaled by the whole")
    assert "LoadImage(value_range=(0, 4095))" in message


def test_images_that_use_the_range_are_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    PixelFormat().convert(values(1, np.uint16, 65535), "a")
    assert caplog.messages == []


@pytest.mark.skipif(not CASE.is_file(), reason=f"{CASE} is absent")
def test_the_file_of_a_bug_report(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="solo.images"):
        assert read_image(CASE).max() == 12
    assert len(caplog.messages) == 1
    assert read_image(CASE, pixels=PixelFormat(value_range=(0, 4095))).max() == round(3200 / 4095 * 255)
    stretched = read_image(CASE, pixels=PixelFormat(percentiles=(1, 99)))
    assert (stretched.min(), stretched.max()) == (0, 255)


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_to_look_at(bands: int) -> None:
    image = values(bands, np.uint8)
    np.testing.assert_array_equal(to_bgr(image), image[..., :3] if bands >= 3 else image[..., [0, 0, 0]])
