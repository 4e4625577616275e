"""Testing on several annotation files at once: AP over the images of all of them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.engine.testing import test as run_test
from solo.errors import ConfigError
from tests.helpers.fakes import CONFIG, write_checkpoint, write_data

FIRST, SECOND = 3, 5
"""Images of the two files, both with ids from 0."""


def write_two_sets(folder: Path, *, names: tuple[str, str] = ("a.json", "b.json"), **options: Any) -> Path:
    """Two files of squares, which the model finds but for a shift by as many pixels as the image's id in its file."""
    datasets = []
    for name, part, count in zip(names, ("one", "two"), (FIRST, SECOND), strict=True):
        (folder / part).mkdir()
        write_data(folder / part, count=count).rename(folder / part / name)
        datasets.append(
            dict(
                type="CocoInstances",
                data_root=str(folder / part),
                ann_file=name,
                test_mode=True,
                pipeline=[dict(type="LoadImage"), dict(type="PackSample")],
                **options,
            )
        )
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="ConcatDataset", datasets=datasets),
    )
    config = folder / "square.py"
    changes = f"test_dataloader = {loader}\ntest_evaluator = dict(type='CocoMaskMetric')\n"
    config.write_text(CONFIG.format(folder=str(folder), ann_file="") + changes)
    return config


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under numpy 2
@pytest.mark.parametrize("names", [("a.json", "b.json"), ("same.json", "same.json")])
def test_ap_is_over_all_files(tmp_path: Path, names: tuple[str, str]) -> None:
    config = write_two_sets(tmp_path, names=names)
    out, checkpoint = tmp_path / "results.json", str(write_checkpoint(tmp_path / "weights.pth"))
    metrics = run_test(str(config), checkpoint, work_dir=str(tmp_path / "work"), out=str(out))
    results = json.loads(out.read_text())
    first, second = (Path(name).stem for name in names) if names[0] != names[1] else ("1", "2")
    expected = [f"{first}/{i}" for i in range(FIRST)] + [f"{second}/{i}" for i in range(SECOND)]
    assert [entry["image_id"] for entry in results] == expected
    content: dict[str, Any] = dict(images=[], annotations=[])
    for part, name, prefix in (("one", names[0], first), ("two", names[1], second)):
        own = json.loads((tmp_path / part / name).read_text())
        content["categories"] = own["categories"]
        content["images"] += [{**image, "id": f"{prefix}/{image['id']}"} for image in own["images"]]
        content["annotations"] += [
            {**entry, "id": len(content["annotations"]) + i, "image_id": f"{prefix}/{entry['image_id']}"}
            for i, entry in enumerate(own["annotations"], 1)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    assert metrics["coco/segm_mAP"] == pytest.approx(evaluator.stats[0], abs=1e-12)
    resumed = run_test(str(config), checkpoint, work_dir=str(tmp_path / "work"), resume=True)
    assert resumed == metrics


def test_datasets_in_training_mode_are_refused(tmp_path: Path) -> None:
    config = write_two_sets(tmp_path)
    config.write_text(config.read_text().replace("'test_mode': True", "'test_mode': False"))
    with pytest.raises(ConfigError, match=r"a\.json.*b\.json: to evaluate several datasets together, each needs"):
        run_test(str(config), str(write_checkpoint(tmp_path / "weights.pth")), work_dir=str(tmp_path / "work"))


def test_other_classes_are_one_line(tmp_path: Path) -> None:
    config = write_two_sets(tmp_path)
    path = tmp_path / "two" / "b.json"
    path.write_text(path.read_text().replace('"bright"', '"brilliant"'))
    with pytest.raises(ConfigError, match=r"ConcatDataset.*meta information of the 2-th dataset does not match"):
        run_test(str(config), str(write_checkpoint(tmp_path / "weights.pth")), work_dir=str(tmp_path / "work"))
