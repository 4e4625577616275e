"""Images read by windows: TIFF files too large to be decoded as a whole, and everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solo.errors import DataError
from solo.images.pixels import PixelFormat
from solo.images.reading import MAX_PIXELS_VARIABLE, read_image
from solo.images.windows import ArrayImage, TiffImage, open_image

tifffile = pytest.importorskip("tifffile", reason="needs solov2[bands]")

WINDOWS = [(0, 0, 1, 1), (0, 0, 150, 100), (10, 20, 140, 99), (63, 63, 65, 65), (149, 99, 150, 100)]
GENERATOR = np.random.default_rng(0)


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write pixels (H, W) or (H, W, RGB)."""
    tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack", **options)
    return path


@pytest.mark.parametrize(
    "options",
    [dict(tile=(64, 32)), dict(tile=(16, 16), compression="zlib"), dict(rowsperstrip=7), dict(byteorder=">")],
)
@pytest.mark.parametrize("shape", [(100, 150), (100, 150, 3), (100, 150, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_windows_have_the_pixels_of_the_whole_image(
    tmp_path: Path, shape: tuple[int, ...], dtype: type, options: dict[str, Any]
) -> None:
    pixels = GENERATOR.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    path = write(tmp_path / "a.tif", pixels, **options, extrasamples=["unspecified"] if shape[2:] == (4,) else None)
    image, whole = TiffImage(path), read_image(path)
    assert image.size == (100, 150)
    for x1, y1, x2, y2 in WINDOWS:
        np.testing.assert_array_equal(image.read((x1, y1, x2, y2)), whole[y1:y2, x1:x2])


def test_a_range_scales_windows_as_it_scales_images(tmp_path: Path) -> None:
    pixels = PixelFormat(value_range=(100, 900))
    path = write(tmp_path / "a.tif", GENERATOR.integers(0, 1000, (100, 150)).astype(np.uint16), tile=(32, 32))
    np.testing.assert_array_equal(
        TiffImage(path, pixels=pixels).read((10, 20, 90, 100)), read_image(path, pixels=pixels)[20:100, 10:90]
    )


def test_large_tiff_files_alone_are_read_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", np.zeros((100, 150), np.uint8), tile=(64, 64))
    assert isinstance(open_image(path), ArrayImage)
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "1000")
    assert isinstance(open_image(path), TiffImage)
    with pytest.raises(DataError, match="more than 1000"):
        read_image(path)


def test_decoded_segments_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solo.images.windows.CACHE_BYTES", 3 * 64 * 64)
    pixels = GENERATOR.integers(0, 256, (640, 640)).astype(np.uint8)
    image = TiffImage(write(tmp_path / "a.tif", pixels, tile=(64, 64)))
    np.testing.assert_array_equal(image.read((0, 0, 640, 640))[..., 0], pixels)
    assert len(image._cache) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(planarconfig="separate", tile=(64, 64)), "interleaved"),
        (dict(extratags=[(274, "H", 1, 6, True)]), "orientation is 6"),
    ],
)
def test_what_cannot_be_read_by_windows_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    shape = (3, 100, 150) if "planarconfig" in options else (100, 150, 3)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="rgb", **options)
    with pytest.raises(DataError, match=message):
        TiffImage(path)


def test_percentiles_need_the_whole_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((100, 150), np.uint16))
    with pytest.raises(DataError, match="percentiles"):
        TiffImage(path, pixels=PixelFormat(percentiles=(1, 99)))


def test_one_piece_of_a_large_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solo.images.windows.MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="pieces of more than 1000 pixels"):
        TiffImage(write(tmp_path / "a.tif", np.zeros((100, 150), np.uint8), rowsperstrip=100))


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GENERATOR.integers(0, 256, (100, 150)).astype(np.uint8), compression="zlib")
    content = path.read_bytes()
    for cut in (12, len(content) // 2):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"a\.tif cannot be read"):
            TiffImage(path).read((0, 0, 150, 100))
