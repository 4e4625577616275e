"""The images of a measurement: of the config, of a folder, and generated."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from benchmarks.datasets import CROWDED_IMAGES, SHAPES_IMAGES, Split, dataset_config, write_crowded
from solo.config import load_config
from solo.datasets import check_coco_file
from solo.errors import ConfigError
from solo.registry import DATASETS
from tests.helpers.tiny_benchmark import CONFIG


@pytest.fixture
def config() -> Config:
    return load_config(CONFIG)


@pytest.mark.parametrize("split", ["train", "val"])
def test_generated_shapes(split: Split, config: Config, tmp_path: Path) -> None:
    options = dataset_config(config, split=split, data="drawn", work_dir=str(tmp_path))
    assert options["pipeline"] == config[f"{split}_dataloader"].dataset.pipeline
    dataset = DATASETS.build(options)
    assert len(dataset) == SHAPES_IMAGES
    assert dataset.test_mode == (split == "val")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_in_the_layout_of_coco(split: Split, config: Config, tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / f"annotations/instances_{split}2017.json").touch()
    options = dataset_config(config, split=split, data=str(tmp_path), work_dir="")
    assert options["ann_file"] == str(tmp_path / f"annotations/instances_{split}2017.json")
    assert options["data_prefix"] == dict(img=str(tmp_path / f"{split}2017"))


def test_the_data_of_the_config_below_its_wrappers(config: Config) -> None:
    plain = dict(config.train_dataloader.dataset)
    config.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=plain)
    assert dataset_config(config, split="train", data=None, work_dir="") == plain


def test_data_that_is_not_there(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no annotations/instances_val\*\.json"):
        dataset_config(config, split="val", data=str(tmp_path), work_dir="")
    with pytest.raises(ConfigError, match="--data crowded:many: expected crowded:N"):
        dataset_config(config, split="val", data="crowded:many", work_dir="")
    del config.val_dataloader.dataset["pipeline"]
    with pytest.raises(ConfigError, match=r"val_dataloader\.dataset has no pipeline"):
        dataset_config(config, split="val", data=None, work_dir="")


def test_every_object_of_a_crowd_is_usable(tmp_path: Path) -> None:
    ann_file, images = write_crowded(tmp_path, num_objects=60)
    report = check_coco_file(ann_file)
    assert report.used == 60 * CROWDED_IMAGES
    assert not report.left_out
    assert len(list(images.glob("*.png"))) == CROWDED_IMAGES


def test_a_seed_generates_the_same_crowd(tmp_path: Path) -> None:
    files = [write_crowded(tmp_path / name, num_objects=5, seed=3)[0] for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
