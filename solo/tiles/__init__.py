"""Images of any size as overlapping tiles: where the tiles lie, how they are predicted, how their objects are joined.

Needs numpy and OpenCV alone, so that models, exported files and the predictor share it.
"""

from solo.tiles.layout import Layout, Tiles, Window, choose_tiles
from solo.tiles.overlaps import TileObjects
from solo.tiles.prediction import (
    Objects,
    PredictTiles,
    TileBatch,
    WindowSource,
    check_unresized,
    predict_by_tiles,
)

__all__ = [
    "Layout",
    "Objects",
    "PredictTiles",
    "TileBatch",
    "TileObjects",
    "Tiles",
    "Window",
    "WindowSource",
    "check_unresized",
    "choose_tiles",
    "predict_by_tiles",
]
