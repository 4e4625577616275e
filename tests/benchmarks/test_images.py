from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from benchmarks.images import DRAWN_IMAGES, Split, dataset_config
from solo.config import load_config
from solo.errors import ConfigError
from solo.registry import DATASETS
from tests.helpers.tiny_benchmark import CONFIG


@pytest.fixture
def config() -> Config:
    return load_config(CONFIG)


@pytest.mark.parametrize("split", ["train", "val"])
def test_drawn(split: Split, config: Config, tmp_path: Path) -> None:
    options = dataset_config(config, split=split, data="drawn", work_dir=str(tmp_path))
    assert options["pipeline"] == config[f"{split}_dataloader"].dataset.pipeline
    dataset = DATASETS.build(options)
    assert len(dataset) == DRAWN_IMAGES
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


def test_mistakes(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no annotations/instances_val\*\.json"):
        dataset_config(config, split="val", data=str(tmp_path), work_dir="")
    with pytest.raises(ConfigError, match="--data crowded:many: expected crowded:N"):
        dataset_config(config, split="val", data="crowded:many", work_dir="")
    del config.val_dataloader.dataset["pipeline"]
    with pytest.raises(ConfigError, match=r"val_dataloader\.dataset has no pipeline"):
        dataset_config(config, split="val", data=None, work_dir="")
