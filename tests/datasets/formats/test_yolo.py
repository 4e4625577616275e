"""YOLO data sets, read directly by the dataset, the checks and the evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solo.cli import main
from solo.datasets import CocoInstances, check_coco_file
from solo.datasets.coco.annotations import read_annotations
from solo.datasets.formats import yolo
from solo.datasets.formats.yolo import find_yaml, labels_path, open_yaml
from solo.engine.testing import test as run_test
from solo.errors import DataError
from tests.helpers.fakes import CONFIG, write_checkpoint
from tests.helpers.format_files import write_image, write_yolo

PIPELINE = [dict(type="LoadImage"), dict(type="LoadInstances"), dict(type="PackSample")]
NAMES = "names: [cat, dog]\n"


def test_the_dataset(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    dataset = CocoInstances(data_root=str(tmp_path), ann_file="data.yaml", pipeline=PIPELINE, split="train")
    assert dataset.metainfo["classes"] == ("cat", "dog")
    assert len(dataset) == 2
    info = dataset.get_data_info(0)
    assert (info["img_id"], info["height"], info["width"]) == ("images/train/a.png", 16, 24)
    assert [(each["bbox_label"], each["mask"]) for each in info["instances"]] == [
        (1, [[6.0, 4.0, 18.0, 4.0, 18.0, 12.0, 6.0, 12.0]]),
        (0, [[0.0, 0.0, 12.0, 0.0, 0.0, 8.0]]),
    ]
    assert info["instances"][0]["bbox"] == [6, 4, 18, 12]
    assert len(dataset[0]["data_samples"].gt_instances) == 2
    assert len(dataset.get_data_info(1)["instances"]) == 0
    assert str(dataset.report).startswith(
        f"{tmp_path}/data.yaml: 2 images (1 without objects), 2 annotations: 2 objects, 0 crowd regions"
    )


@pytest.mark.parametrize(
    ("options", "split"),
    [
        (dict(ann_file="annotations/instances_train.json", data_prefix=dict(img="train/")), "train"),
        (dict(ann_file="annotations/instances_val.json", data_prefix=dict(img="val/"), test_mode=True), "val"),
        (dict(ann_file="data.yaml"), "train"),
        (dict(ann_file="data.yaml", test_mode=True), "val"),
        (dict(ann_file="data.yaml", test_mode=True, split="train"), "train"),
    ],
)
def test_a_config_for_coco_finds_the_data_yaml(tmp_path: Path, options: dict[str, Any], split: str) -> None:
    write_yolo(tmp_path)
    dataset = CocoInstances(data_root=str(tmp_path), pipeline=PIPELINE, **options)
    assert [dataset.get_data_info(index)["img_id"] for index in range(2)] == [
        f"images/{split}/a.png", f"images/{split}/b.png"
    ]  # fmt: skip
    assert len(dataset[0]["data_samples"].gt_instances if "gt_instances" in dataset[0]["data_samples"] else [1, 1]) == 2


def test_a_split_of_a_coco_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(dict(images=[], annotations=[], categories=[])))
    with pytest.raises(DataError, match=r"split='val' is of a YOLO data\.yaml, but ann_file is .*a\.json"):
        CocoInstances(data_root=str(tmp_path), ann_file="a.json", split="val")
    with pytest.raises(DataError, match=r"annotation file .*b\.json does not exist"):
        CocoInstances(data_root=str(tmp_path), ann_file="b.json")


def test_unusable_lines_are_counted_with_file_and_number(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    lines = [
        "0 0 0 0.5 0 0 0.5",
        "2 0 0 0.5 0 0 0.5",  # unknown class
        "0.5 0 0 0.5 0 0 0.5",
        "nan 0 0 0.5 0 0 0.5",
        "1 0.5 0.5 0.2 0.2",  # a box
        "1 0.5 0.5 0.2",
        "1 0.5 0.5 0.2 0.2 0.3 0.3 0.4",  # odd
        "1 10 20 10 10 20 30",  # pixels
        "1 0.5 a 0.2 0.2 0.3 0.3",
        "1 0.1 0.1 0.1 0.1 0.1 0.1",  # without a pixel
        "1 -0.005 0 0.5 0 0 1.005",
    ]
    (tmp_path / "labels/train/a.txt").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    (tmp_path / "labels/train/b.txt").write_bytes(b"\xff\xfe0 1")
    report = check_coco_file(f"{tmp_path}/data.yaml#train")
    name = "labels/train/a.txt"
    assert dict(report.problems) == {
        yolo.UNKNOWN_CLASS: [f"{name}:{number}" for number in (2, 3, 4)],
        yolo.BOX_ALONE: [f"{name}:5"],
        yolo.NOT_NUMBERS: [f"{name}:6", f"{name}:7", f"{name}:9"],
        yolo.NOT_RELATIVE: [f"{name}:8"],
        yolo.UNREADABLE_LABELS: ["labels/train/b.txt"],
        "segmentation without a pixel in the image": [f"{name}:10"],
    }
    assert (report.used, report.annotations) == (2, 12)
    assert "3 left out, class is none of the data.yaml's names: annotation labels/train/a.txt:2" in str(report)


def test_all_splits_or_one(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for path in (tmp_path, tmp_path / "data.yaml"):
        assert len(read_annotations(path).images) == 4
        assert len(read_annotations(f"{path}#val").images) == 2
    with pytest.raises(DataError, match=r"has no split 'vla'; it has train, val"):
        read_annotations(f"{tmp_path}/data.yaml#vla")


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images/train/c.png").write_bytes(b"no image")
    checked = read_annotations(tmp_path, split="train")
    assert checked.report.remarks == ["1 images left out, which cannot be read: images/train/c.png"]
    with pytest.raises(DataError, match=r"c\.png cannot be read"):
        read_annotations(tmp_path, split="train", for_evaluation=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images/train\nnames: {0: cat, 2: dog}", r"names must be numbered from 0 to 1, found \[0, 2\]"),
        ("train: images/train\nnames: cat", "names must be a list of class names, found 'cat'"),
        ("train: images/train\nnames: [cat, cat]", "names has a class twice"),
        ("train: images/train\nnames: [cat]\nnc: 2", "nc is 2, but there are 1 names"),
        (NAMES, r"has none of the keys train, val, test; it has \['names'\]"),
        (f"{NAMES}train: 3", "train must be a folder, a text file or a list of them, found 3"),
        (f"{NAMES}train: nowhere", r"train: \S+nowhere does not exist"),
        (f"{NAMES}train: labels", "train: labels: no image there"),
        (f"{NAMES}path: 3\ntrain: images", "path must be a text, found 3"),
        ("[1", "is not YAML"),
        ("- 1", "expected a YOLO data.yaml, with 'names'"),
        ("a: !!python/object/apply:os.system [echo]", "is not YAML"),
    ],
)
def test_malformed_data_yaml(tmp_path: Path, text: str, message: str) -> None:
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"data\.yaml.*{message}"):
        read_annotations(tmp_path)


def test_where_images_are(tmp_path: Path) -> None:
    """Roboflow's ../train/images, a list of files with a list of images, an absolute path that is no longer there."""
    write_image(tmp_path / "train" / "images" / "a.png")
    write_image(tmp_path / "elsewhere" / "images" / "images" / "b.png")
    (tmp_path / "more.txt").write_text("./elsewhere/images/images/b.png\n\n")
    (tmp_path / "data.yaml").write_text(f"path: /nowhere\ntrain: [../train/images, more.txt]\n{NAMES}")
    data = open_yaml(tmp_path / "data.yaml")
    paths = data.image_paths("train")
    assert [data.name_of(path) for path in paths] == ["train/images/a.png", "elsewhere/images/images/b.png"]
    assert [data.name_of(labels_path(path)) for path in paths] == [
        "train/labels/a.txt",
        "elsewhere/images/labels/b.txt",
    ]
    assert labels_path(Path("a/b.jpeg")) == Path("a/b.txt")
    assert find_yaml(tmp_path) == tmp_path / "data.yaml"
    assert find_yaml(tmp_path / "train") is None


def test_commands_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_yolo(tmp_path / "data")
    yaml_file = f"{tmp_path}/data/data.yaml"
    assert main(["data", "stats", yaml_file]) == 0
    assert main(["data", "split", yaml_file, "--out", f"{tmp_path}/split"]) == 0
    parts = [f"{tmp_path}/split/instances_{split}.json" for split in ("train", "val")]
    assert main(["data", "merge", *parts, "--out", f"{tmp_path}/merged.json"]) == 0
    assert check_coco_file(tmp_path / "merged.json").used == 4
    capsys.readouterr()
    assert main(["data", "check", yaml_file]) == 0
    assert f"file 1: {yaml_file}" in capsys.readouterr().out
    assert main(["data", "subset", f"{tmp_path}/data/data.yaml#val", f"{tmp_path}/s.json", "--images", "1"]) == 0
    assert check_coco_file(tmp_path / "s.json").used == 2


def test_testing(tmp_path: Path) -> None:
    """AP of one square in each image, which the model finds exactly."""
    data = tmp_path / "data"
    for name in ("a", "b"):
        pixels = np.full((32, 32, 3), 20, np.uint8)
        image = write_image(data / "images" / f"{name}.png")
        assert cv2.imwrite(str(image), pixels)
        (data / "labels").mkdir(exist_ok=True)
        (data / "labels" / f"{name}.txt").write_text("1 .125 .125 .625 .125 .625 .625 .125 .625\n")
    (data / "data.yaml").write_text("val: images\nnames: [dark, bright]\n")
    dataset = dict(
        type="CocoInstances",
        data_root=str(data),
        ann_file="data.yaml",
        test_mode=True,
        pipeline=[PIPELINE[0], PIPELINE[-1]],
    )
    loader = dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset)
    config = tmp_path / "square.py"
    changes = f"test_dataloader = {loader}\ntest_evaluator = dict(type='CocoMaskMetric')\n"
    config.write_text(CONFIG.format(folder=str(data), ann_file="") + changes)
    checkpoint = write_checkpoint(tmp_path / "weights.pth")
    out = tmp_path / "results.json"
    metrics = run_test(str(config), str(checkpoint), work_dir=str(tmp_path / "work"), out=str(out))
    assert metrics["coco/segm_mAP"] == metrics["coco/bbox_mAP"] == 1
    assert [entry["image_id"] for entry in json.loads(out.read_text())] == ["images/a.png", "images/b.png"]
