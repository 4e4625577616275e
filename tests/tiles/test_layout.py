"""Where tiles lie, and which ones are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from solo.errors import ConfigError
from solo.tiles import Tiles, Window, choose_tiles


def test_tiles_of_nuclei() -> None:
    """The four tiles of 320 pixels of an image of 256 pixels at 512, the nine at 640."""
    layout = Tiles(size=320, overlap=0.2, scale=(512, 512)).layout(256, 256)
    assert layout.windows == [
        Window(0, 0, 160, 160),
        Window(96, 0, 256, 160),
        Window(0, 96, 160, 256),
        Window(96, 96, 256, 256),
    ]
    assert layout.factor == 2 and layout.margin == 2
    assert len(Tiles(size=320, overlap=0.2, scale=2.5).layout(256, 256).windows) == 9


@pytest.mark.parametrize("overlap", [0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 129, 1000])
def test_tiles_cover_the_image_and_overlap(length: int, overlap: float) -> None:
    layout = Tiles(size=64, overlap=overlap).layout(length, 64)
    assert layout.rows[0][0] == 0 and layout.rows[-1][1] == length
    for (_, stop), (start, _) in zip(layout.rows, layout.rows[1:], strict=False):
        assert stop - start >= round(64 * overlap)
    assert all(stop - start == min(length, 64) for start, stop in layout.rows)


def test_every_pair_of_neighbours_once() -> None:
    layout = Tiles(size=64, overlap=0.6).layout(150, 200)
    windows = layout.windows
    expected = {
        (first, second)
        for first in range(len(windows))
        for second in range(first + 1, len(windows))
        if windows[first].x1 <= windows[second].x2
        and windows[second].x1 <= windows[first].x2
        and windows[second].y1 <= windows[first].y2
    }
    pairs = list(layout.neighbours())
    assert set(pairs) == expected and len(pairs) == len(expected)
    assert pairs == sorted(pairs, key=lambda pair: pair[0])


def test_a_tile_is_never_larger_than_the_network_takes() -> None:
    tiles = Tiles(size=320, scale=1.7)
    layout = tiles.layout(500, 500)
    assert {tiles.network_size(window, layout.factor) for window in layout.windows} == {(320, 320)}
    assert tiles.network_size(Window(0, 0, 10, 1), 0.3) == (1, 3)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (dict(size=0), "size"),
        (dict(size=64.0), "size"),
        (dict(size=True), "size"),
        (dict(size=64, overlap=1.0), "overlap"),
        (dict(size=64, overlap="0.2"), "overlap"),
        (dict(size=64, scale=0), "scale"),
        (dict(size=64, scale=(512,)), "scale"),
        (dict(size=64, scale=(512, 0)), "scale"),
        (dict(size=64, scale=float("nan")), "scale"),
        (dict(size=64, batch_size=0), "batch_size"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=f"tiles.{name}: expected"):
        Tiles(**options)


def test_what_a_user_asks_for_changes_the_tiles_of_the_model() -> None:
    own = Tiles(size=320, overlap=0.3, scale=2.0)
    assert choose_tiles(own) == own
    assert choose_tiles(own, size=0) is None
    assert choose_tiles(None) is None
    assert choose_tiles(own, overlap=0.1) == Tiles(size=320, overlap=0.1, scale=2.0)
    assert choose_tiles(None, size=1024, overlap=0.1) == Tiles(size=1024, overlap=0.1)
    with pytest.raises(ConfigError, match="overlap of tiles without tiles"):
        choose_tiles(None, overlap=0.2)
    with pytest.raises(ConfigError, match="scale of tiles without tiles"):
        choose_tiles(own, size=0, scale=2)
