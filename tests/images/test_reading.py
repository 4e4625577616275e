from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from solo.errors import DataError
from solo.images.header import keep_tiff_bands
from solo.images.reading import UnreadableImageError, read_annotated_image, read_image
from tests.helpers.limits import run_limited
from tests.helpers.odd_files import make_endless, png_bomb
from tests.helpers.paths import SHARED
from tests.helpers.tiff_files import tiff_bytes

CASES = SHARED / "cases" / "odd_images"
COLOR = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def save_rotated(path: Path, orientation: int = 6) -> Path:
    """A JPEG of 20 x 12 stored pixels whose EXIF says: turn by 90 degrees to look at."""
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[:, :10] = 255  # left half white: top half once turned clockwise
    PillowImage.fromarray(pixels).save(path, exif=exif, quality=95)
    return path


def test_color(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", COLOR)), COLOR)


def test_grayscale(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", COLOR[..., 0]))
    np.testing.assert_array_equal(image, np.repeat(COLOR[..., :1], 3, axis=2))


def test_transparency_is_dropped(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", np.dstack([COLOR, COLOR[..., 0]])))
    np.testing.assert_array_equal(image, COLOR)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_transparency_of_a_tiff_is_dropped(tmp_path: Path, compression: str | None, endian: str) -> None:
    pixels = np.dstack([COLOR, COLOR[..., 0]])
    PillowImage.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    content = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., ::-1], COLOR)
    (tmp_path / "b.tif").write_bytes(tiff_bytes(pixels, extra_samples=[2], endian=endian))
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif")[..., ::-1], COLOR)
    for length in range(0, len(content), 7):  # damaged anywhere: as before
        keep_tiff_bands(content[:length])


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent")
@pytest.mark.parametrize(("name", "band"), [("l_4band.tif", 200), ("d_rgba.tif", 255)])
def test_bands_as_stored_in_files_from_bug_reports(name: str, band: int) -> None:
    stored = np.asarray(PillowImage.open(CASES / name))
    assert stored[..., 3].max() == band
    np.testing.assert_array_equal(read_image(CASES / name)[..., ::-1], stored[..., :3])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled(tmp_path: Path, channels: int) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (12, 20, channels), dtype=np.uint16)
    image = read_image(save(tmp_path / "a.png", deep))
    expected = np.rint(deep[..., :3] / 257.0)
    np.testing.assert_array_equal(image, np.broadcast_to(expected, image.shape))
    assert image.dtype == np.uint8


def test_palette(tmp_path: Path) -> None:
    image = PillowImage.fromarray(COLOR).quantize(16)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., ::-1], np.asarray(image.convert("RGB")))


def test_orientation_is_honoured(tmp_path: Path) -> None:
    image = read_image(save_rotated(tmp_path / "a.jpg"))
    assert image.shape == (20, 12, 3)
    assert image[:8].min() > 200
    assert image[12:].max() < 50


@pytest.mark.parametrize(("height", "width"), [(20, 12), (12, 20)])
def test_orientation_follows_the_annotation(tmp_path: Path, height: int, width: int) -> None:
    image = read_annotated_image(save_rotated(tmp_path / "a.jpg"), annotated=(height, width))
    assert image.shape == (height, width, 3)
    stored_left_half_is_white = image[:, : width // 3].min() > 200
    assert stored_left_half_is_white == (width == 20)


def test_size_of_neither_frame_names_both_sizes(tmp_path: Path) -> None:
    path = save_rotated(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg is 12 x 20 pixels, but its annotation says 30 x 40") as caught:
        read_annotated_image(path, annotated=(40, 30))
    assert not isinstance(caught.value, UnreadableImageError)


def jpeg_with_thumbnail() -> bytes:
    """A JPEG whose header holds another whole JPEG, end marker included."""
    thumbnail, image = io.BytesIO(), io.BytesIO()
    PillowImage.fromarray(COLOR[:4, :4]).save(thumbnail, "JPEG")
    large = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    PillowImage.fromarray(large).save(image, "JPEG", exif=b"Exif\x00\x00" + thumbnail.getvalue())
    assert image.getvalue().count(b"\xff\xd9") >= 2
    return image.getvalue()


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".jpg", ".png", "thumbnail.jpg"])
def test_truncated(tmp_path: Path, suffix: str, kept: float, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = jpeg_with_thumbnail() if "thumbnail" in suffix else cv2.imencode(suffix, noise)[1].tobytes()
    path.write_bytes(content)
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UnreadableImageError, match="truncated") as caught:
        read_image(path)
    assert caught.value.path == str(path)
    assert capfd.readouterr().err == ""


def test_bytes_after_the_end_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg_with_thumbnail() + b"\x00" * 10_000)
    assert read_image(tmp_path / "a.jpg").shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"no image", "damaged"), (b"\xff\xd8\xff\xd9", "damaged")]
)
def test_no_image(tmp_path: Path, content: bytes, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def test_missing_file(tmp_path: Path) -> None:
    save(tmp_path / "picture.png", COLOR)
    with pytest.raises(UnreadableImageError, match=r"did you mean 'picture\.png'"):
        read_image(tmp_path / "pictures.png")


# ------------------------------------------------------------------------------------------------- untrusted files
@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    """100 KB that decode to 900 million pixels."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb())
    return path


def test_an_image_above_the_limit_is_not_decoded(bomb: Path) -> None:
    outcome = run_limited(lambda: str(read_image(bomb).shape), memory=2**28)
    assert "bomb.png cannot be read: it has 30000 x 30000 pixels, more than 134217728;" in outcome


def test_an_image_of_another_size_than_annotated_is_not_decoded(bomb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", str(10**10))
    outcome = run_limited(lambda: str(read_annotated_image(bomb, annotated=(64, 64)).shape), memory=2**28)
    assert "bomb.png is 30000 x 30000 pixels, but its annotation says 64 x 64" in outcome


def test_limit_of_pixels_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", COLOR)
    assert read_image(path, max_pixels=240).shape == COLOR.shape
    with pytest.raises(UnreadableImageError, match=r"it has 20 x 12 pixels, more than 239"):
        read_image(path, max_pixels=239)
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "100")
    with pytest.raises(UnreadableImageError, match="more than 100"):
        read_image(path)
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "many")
    with pytest.raises(DataError, match="OPENCV_IO_MAX_IMAGE_PIXELS: expected a number of pixels, got 'many'"):
        read_image(path)


@pytest.mark.parametrize(("height", "width"), [(20, 12), (12, 20), (13, 20)])
def test_orientation_is_decided_before_decoding(
    tmp_path: Path, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_rotated(tmp_path / "a.jpg")
    decode, calls = cv2.imdecode, []
    monkeypatch.setattr(cv2, "imdecode", lambda *given: calls.append(given) or decode(*given))
    if height == 13:
        with pytest.raises(DataError, match="annotation says 20 x 13"):
            read_annotated_image(path, annotated=(height, width))
    else:
        read_annotated_image(path, annotated=(height, width))
    assert len(calls) == (0 if height == 13 else 1)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = make_endless(tmp_path / "x.png", kind)
    outcome = run_limited(lambda: str(read_image(path)), memory=2**28, seconds=5)
    assert outcome.startswith("UnreadableImageError") and "is not a regular file" in outcome


def test_a_sparse_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", COLOR)
    os.truncate(path, 2**40)
    outcome = run_limited(lambda: str(read_image(path)), memory=2**28)
    assert "its 1099511627776 bytes are more than" in outcome


def test_a_link_to_an_image_is_read(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(save(tmp_path / "a.png", COLOR))
    np.testing.assert_array_equal(read_image(tmp_path / "link.png"), COLOR)


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\x80.png")
    path.write_bytes(cv2.imencode(".png", COLOR)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), COLOR)


def test_every_value_of_16_bits_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = read_image(save(tmp_path / "a.png", values))
    np.testing.assert_array_equal(image[..., 0], np.rint(values / 257.0))
