"""Colours: each change by hand on a pixel, hue against YIQ, what is sampled and how often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from solo.datasets import RandomDistort
from solo.datasets.transforms.color_distortion import rotate_hue, scale_saturation
from solo.registry import TRANSFORMS

# One pixel, B G R.
PIXEL = np.array([[[10.0, 100.0, 200.0]]], dtype=np.float32)
GREY = 0.114 * 10 + 0.587 * 100 + 0.299 * 200


class Draws:
    """Stands for numpy's generator: the order as given, coins that all say yes, amounts from a table."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, order: list[str], coins: dict[str, float]) -> None:
        self.coins = iter([coins.get(name, 0.9) for name in order])
        monkeypatch.setattr(np.random, "permutation", lambda names: order)
        monkeypatch.setattr(np.random, "rand", lambda: next(self.coins))


def fixed(**amounts: float) -> dict[str, tuple[float, float]]:
    return {name: (amount, amount) for name, amount in amounts.items()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(brightness=1.25), [11.25, 101.25, 201.25]),
        (dict(contrast=1.5), [15.0, 150.0, 300.0]),
        (dict(saturation=0.5), [(10 + GREY) / 2, (100 + GREY) / 2, (200 + GREY) / 2]),
        (dict(hue=0.0), [10.0, 100.0, 200.0]),
    ],
)
def test_one_change_by_hand(options: Any, expected: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = options
    order = [name, *({"hue", "saturation", "contrast", "brightness"} - {name})]
    Draws(monkeypatch, order, {name: 0.4})
    image = RandomDistort(**fixed(**options))(dict(img=PIXEL.astype(np.uint8)))["img"]
    assert image.dtype == np.float32
    # Paddle's YIQ matrices are rounded to three digits, and are not quite inverse.
    np.testing.assert_allclose(image[0, 0], expected, atol=0.5 if name == "hue" else 1e-3)


def test_changes_follow_the_sampled_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """(10 + 1) * 2, not 10 * 2 + 1."""
    Draws(monkeypatch, ["brightness", "contrast", "hue", "saturation"], dict(brightness=0.1, contrast=0.1))
    image = RandomDistort(**fixed(brightness=1.0, contrast=2.0))(dict(img=PIXEL))["img"]
    np.testing.assert_allclose(image[0, 0], [22.0, 202.0, 402.0])


def test_hue_turns_i_and_q_and_keeps_y() -> None:
    """The colour at a quarter turn by hand: I becomes -Q, Q becomes I."""
    blue, green, red = PIXEL[0, 0]
    i = 0.596 * red - 0.274 * green - 0.321 * blue
    q = 0.211 * red - 0.523 * green + 0.311 * blue
    expected = [GREY + 1.107 * q + 1.705 * i, GREY + 0.272 * q - 0.647 * i, GREY - 0.956 * q + 0.621 * i]
    turned = rotate_hue(PIXEL, 0.5)
    np.testing.assert_allclose(turned[0, 0], expected, rtol=1e-4)
    assert 0.114 * turned[0, 0, 0] + 0.587 * turned[0, 0, 1] + 0.299 * turned[0, 0, 2] == pytest.approx(GREY, abs=1)


def test_every_pixel_alike() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (3, 4, 3)).astype(np.float32)
    for change, amount in ((rotate_hue, 0.3), (scale_saturation, 1.4)):
        single = [[change(image[y : y + 1, x : x + 1], amount)[0, 0] for x in range(4)] for y in range(3)]
        np.testing.assert_allclose(change(image, amount), single, rtol=1e-5, atol=1e-4)


def test_grey_has_no_saturation() -> None:
    grey = np.full((2, 2, 3), 80, dtype=np.float32)
    np.testing.assert_allclose(scale_saturation(grey, 1.5), grey, rtol=1e-6)


def test_without_any_change_the_image_is_the_same_object() -> None:
    image = PIXEL.astype(np.uint8)
    assert RandomDistort(prob=0)(dict(img=image))["img"] is image


def test_defaults_and_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    distort = TRANSFORMS.build(dict(type="RandomDistort"))
    assert distort.ranges == dict(hue=(-18, 18), saturation=(0.5, 1.5), contrast=(0.5, 1.5), brightness=(0.5, 1.5))
    np.random.seed(0)
    # All four coins must say no: one image in sixteen stays.
    unchanged = sum(distort(dict(img=PIXEL))["img"] is PIXEL for _ in range(800))
    assert 25 < unchanged < 75
    assert "hue=(-18, 18)" in repr(distort)


@pytest.mark.parametrize("options", [dict(hue=(1, -1)), dict(prob=1.5), dict(prob=-0.1)])
def test_impossible_options(options: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        RandomDistort(**options)
