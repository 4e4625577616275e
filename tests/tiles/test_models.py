"""The option of models: the predictor, exported files, tests and training take the same tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from solo import SOLOPredictor
from solo.cli import main
from solo.config.tiles import use_tiles
from solo.deployment import DeploymentOptions
from solo.engine.testing import test as run_test
from solo.errors import ConfigError
from solo.masks.rle import encode_masks
from solo.tiles import Tiles
from tests.helpers.exported import export_config, write_random_checkpoint
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.tiny_model import build_random, prediction_sample, tiny_config

RESIZE = dict(type="mmdet.Resize", scale=(64, 64), keep_ratio=True)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 150, 3), dtype=np.uint8)


def open_tiny(folder: Path, *, resize: bool = True, **options: Any) -> SOLOPredictor:
    """A model with random weights, run without rounding of its own."""
    config = export_config(tiny_config(), *[RESIZE] * resize)
    for name, value in options.pop("model", {}).items():
        config.model[name] = value
    weights = write_random_checkpoint(export_config(tiny_config()), folder / "weights.pth")
    return SOLOPredictor(config, weights, device="cpu", deployment=DeploymentOptions(), **options)


def test_one_tile_is_the_whole_image(tmp_path: Path, image: np.ndarray) -> None:
    predictor = open_tiny(tmp_path, resize=False)
    square = np.ascontiguousarray(image[:64, :64])
    whole, tiled = predictor(square), predictor(square, tile=64)
    assert len(whole) and whole.rles == tiled.rles
    np.testing.assert_array_equal(whole.boxes, tiled.boxes)
    np.testing.assert_array_equal(whole.scores, tiled.scores)


def test_images_do_not_depend_on_their_batch(tmp_path: Path, image: np.ndarray) -> None:
    predictor = open_tiny(tmp_path, tile=64, overlap=0.3)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    alone = predictor(image)
    for result in predictor([image, tmp_path / "a.png", image], batch_size=3):
        assert result.rles == alone.rles and result.image_size == (96, 150)
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-6)


def test_the_config_the_constructor_and_the_call_agree(tmp_path: Path, image: np.ndarray) -> None:
    tiles = dict(size=64, overlap=0.3, scale=1.5)
    configured = open_tiny(tmp_path, model=dict(tiles=tiles))
    assert configured.tiles == Tiles(**tiles)
    expected = configured(image).rles
    assert open_tiny(tmp_path, tile=64, overlap=0.3, tile_scale=1.5)(image).rles == expected
    assert open_tiny(tmp_path, tile_scale=1.5, tile=96)(image, tile=64, overlap=0.3).rles == expected
    assert configured(image, tile=0).rles == open_tiny(tmp_path)(image).rles != expected


def test_validation_gives_what_the_predictor_gives(tmp_path: Path, image: np.ndarray) -> None:
    tiles = dict(size=64, overlap=0.3, scale=1.5)
    expected = open_tiny(tmp_path, tile=64, overlap=0.3, tile_scale=1.5)(image)
    for mask_format in ("rle", "bool"):
        model = build_random({**tiny_config(postprocess=dict(mask_format=mask_format)), "tiles": tiles})
        model.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True)["state_dict"])
        data = dict(inputs=[torch.from_numpy(image).permute(2, 0, 1)], data_samples=[prediction_sample((96, 150))])
        with torch.no_grad():
            (sample,) = model.val_step(data)
        found = sample.pred_instances
        masks = found.masks if mask_format == "rle" else encode_masks(found.masks.numpy())
        assert list(masks) == list(expected.rles)
        np.testing.assert_array_equal(found.scores.numpy(), expected.scores)
        np.testing.assert_array_equal(found.bboxes.numpy(), expected.boxes)


def test_images_that_the_pipeline_resized_are_refused(image: np.ndarray) -> None:
    model = build_random({**tiny_config(), "tiles": dict(size=64)})
    data = dict(
        inputs=[torch.from_numpy(image).permute(2, 0, 1)], data_samples=[prediction_sample((96, 150), (48, 75))]
    )
    with pytest.raises(ConfigError, match=r"resizes an image of 75 x 48 pixels to 150 x 96 .* set model.tiles.scale"):
        model.test_step(data)


def test_resize_steps_of_validation_and_test_give_way_to_tiles() -> None:
    steps = [dict(type="LoadImage"), RESIZE, dict(type="PackSample")]
    loader = dict(dataset=dict(type="RepeatDataset", dataset=dict(pipeline=steps)))
    config = Config(dict(model=dict(type="SOLOv2", tiles=dict(size=64)), val_dataloader=loader, test_dataloader=loader))
    assert use_tiles(config) == Tiles(size=64)
    for split in ("val", "test"):
        names = [step["type"] for step in config[f"{split}_dataloader"].dataset.dataset.pipeline]
        assert names == ["LoadImage", "PackSample"]
    whole = Config(dict(model=dict(type="SOLOv2", tiles=dict(size=64)), test_dataloader=loader))
    assert use_tiles(whole, size=0) is None and whole.model.tiles is None
    assert len(whole.test_dataloader.dataset.dataset.pipeline) == 3


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ConfigError, match=r"model.tiles': expected size, overlap, scale, batch_size; .*'sise'"):
        use_tiles(Config(dict(model=dict(type="SOLOv2", tiles=dict(sise=64)))))


def test_views_and_tiles_exclude_each_other(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    weights = write_checkpoint(tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="--tile 0"):
        run_test(str(config), str(weights), work_dir=str(tmp_path / "work"), tta=True, tile=64)
    with pytest.raises(ConfigError, match="tile=0"):
        open_tiny(tmp_path, tta=True, tile=64)


def test_a_model_without_the_option_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["test", str(write_config(tmp_path)), str(write_checkpoint(tmp_path / "weights.pth")), "--tile", "32"]
    assert main([*words, "--work-dir", str(tmp_path / "work")]) == 2
    error = capsys.readouterr().err
    assert "tiles" in error and "Traceback" not in error and error.count("\n") == 1
