"""The tuner on data whose best size is plain: a lattice of small squares, and one large square an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

from solo.cli import main
from solo.config import load_config
from solo.datasets.insight.base_settings import read_settings
from solo.datasets.insight.object_losses import COLLIDED
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.tuning import Budget, TuningResult, tune
from solo.errors import DataError
from solo.registry import DATASETS
from tests.helpers.coco_files import annotation, content, write

BASE = "solov2-nano_custom"
SIDE = 400


def square(number: int, x: int, y: int, side: int) -> dict[str, Any]:
    outline = [x, y, x + side, y, x + side, y + side, x, y + side]
    return annotation(number, bbox=[x, y, side, side], area=side**2, segmentation=[outline])


def lattice(step: int, side: int) -> list[dict[str, Any]]:
    places = [(x, y) for x in range(3, SIDE - side, step) for y in range(3, SIDE - side, step)]
    return [square(number, x, y, side) for number, (x, y) in enumerate(places, 1)]


def write_set(folder: Path, objects: list[dict[str, Any]], *, name: str = "train.json") -> Path:
    folder.mkdir(exist_ok=True)
    what = content(objects)
    what["images"][0].update(height=SIDE, width=SIDE)
    return write(folder, what, name=name)


def tuned(path: Path, **budget: float) -> TuningResult:
    init_default_scope("solo")
    source = AnnotationSource.open(path)
    settings = read_settings(load_config(BASE), [(SIDE, SIDE)])
    return tune(source, settings, budget=Budget(**budget))


def test_small_objects_are_enlarged_and_cropped(tmp_path: Path) -> None:
    result = tuned(write_set(tmp_path, lattice(step=22, side=9)))
    chosen = result.chosen
    assert chosen.plan.tile is not None and chosen.plan.scale == (640, 640)
    assert chosen.train_cost <= 1.01 and chosen.test_cost <= 4
    assert chosen.reachable_ap > result.base.reachable_ap + 0.05
    assert chosen.limits.max_per_img >= result.most_objects == 18**2
    assert chosen.limits.max_dets == chosen.limits.max_per_img < chosen.limits.nms_pre


def test_cells_are_made_finer_where_neighbours_share_them(tmp_path: Path) -> None:
    result = tuned(write_set(tmp_path, lattice(step=12, side=10)), test=1)
    assert result.base.losses.share(COLLIDED) > 0.2
    assert result.chosen.losses.share(COLLIDED) <= 0.005
    assert result.chosen.grid.num_grids[0] > result.base.grid.num_grids[0]


def test_large_objects_need_no_larger_input(tmp_path: Path) -> None:
    result = tuned(write_set(tmp_path, [square(1, 50, 50, 300)]))
    assert result.chosen.plan.tile is None
    assert result.chosen.test_cost <= 1
    assert result.chosen.grid.num_grids == result.base.grid.num_grids
    assert any("in crops of" in option.refusal for option in result.options)


def test_the_budget_bounds_the_tiles(tmp_path: Path) -> None:
    path = write_set(tmp_path, lattice(step=22, side=9))
    cheap, dear = tuned(path, test=1), tuned(path, test=100)
    assert cheap.chosen.test_cost <= 1 < dear.chosen.test_cost
    assert dear.chosen.plan.scale == (800, 800), "twice the size of the images"
    with pytest.raises(DataError, match="positive"):
        Budget(train=0)


def test_without_objects_there_is_nothing_to_tune_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable object"):
        tuned(write_set(tmp_path, []))


def test_written_config_loads_and_makes_the_samples_it_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_set(tmp_path / "data", lattice(step=22, side=9))
    val = write_set(tmp_path / "data", lattice(step=30, side=9), name="val.json")
    target = tmp_path / "my_config.py"
    words = ["data", "tune", str(train), "--write", str(target)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "proposed" in printed and "640 x 640 px, 384 px crops" in printed
    text = target.read_text()
    assert text.startswith("# Proposed by `solo data tune`") and max(map(len, text.splitlines())) <= 120
    config = load_config(target)
    assert config.model.tiles == dict(size=384, overlap=0.2, scale=(640, 640), batch_size=4)
    assert config.model.num_classes == 2
    assert config.val_evaluator.max_dets == config.test_evaluator.max_dets == config.model.postprocess.max_per_img
    assert config.val_dataloader == config.test_dataloader
    dataset = DATASETS.build(config.train_dataloader.dataset)
    sample = dataset[0]
    assert sample["inputs"].shape == (3, 384, 384)
    assert len(sample["data_samples"].gt_instances.labels) > 0
    assert DATASETS.build(config.val_dataloader.dataset).ann_file == str(val)
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("in_two", "keeps_the_largest"), [(1, True), (2, False)])
def test_masks_of_one_piece_are_proposed_if_next_to_all_objects_are(
    tmp_path: Path, in_two: int, keeps_the_largest: bool
) -> None:
    objects = lattice(step=90, side=30)[:20]
    for each in objects[:in_two]:
        outline, (x, y, side, _) = each["segmentation"][0], each["bbox"]
        each["segmentation"] = [
            outline,
            [x + side + 4, y, x + side + 10, y, x + side + 10, y + 10, x + side + 4, y + 10],
        ]
        each["bbox"] = [x, y, side + 10, side]
    train = write_set(tmp_path, objects)
    assert tuned(train).in_pieces == in_two / 20
    assert main(["data", "tune", str(train), "--write", str(tmp_path / "my_config.py")]) == 0
    post = load_config(tmp_path / "my_config.py").model.postprocess
    assert post.get("largest_component", False) == keeps_the_largest
    assert ("the largest piece is kept" in (tmp_path / "my_config.py").read_text()) == keeps_the_largest


def test_a_proposal_of_whole_images_scales_the_steps_of_the_base(tmp_path: Path) -> None:
    train = write_set(tmp_path, [square(1, 50, 50, 300)])
    target = tmp_path / "my_config.py"
    assert main(["data", "tune", str(train), "--write", str(target)]) == 0
    config, text = load_config(target), target.read_text()
    (resize,) = (step for step in config.train_dataloader.dataset.pipeline if step.type == "RandomResize")
    (test_resize,) = (step for step in config.test_dataloader.dataset.pipeline if step.type == "mmdet.Resize")
    assert resize.scale == test_resize.scale
    assert "tiles" not in config.model
    assert "no other images" in text, "the validation is of the training images"


def test_yolo_data_sets_are_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        pixels = np.full((64, 64, 3), 50 + len(split), np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{split}/{split}.png"), pixels)
        (tmp_path / f"labels/{split}/{split}.txt").write_text("0 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.4\n")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [a]\n")
    parts = [f"{tmp_path}/data.yaml#{split}" for split in ("train", "val")]
    assert main(["data", "check", *parts]) == 0
    assert main(["data", "tune", parts[0], "--write", str(tmp_path / "tuned.py")]) == 0
    assert main(["data", "merge", *parts, "--out", str(tmp_path / "all.json")]) == 0
    assert f"image folder, for data_prefix.img: {tmp_path}/images" in capsys.readouterr().out
    config = load_config(tmp_path / "tuned.py")
    init_default_scope("solo")
    datasets = [DATASETS.build(config[f"{split}_dataloader"].dataset) for split in ("train", "val")]
    assert [Path(dataset.get_data_info(0)["img_path"]).name for dataset in datasets] == ["train.png", "val.png"]
