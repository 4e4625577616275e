"""The seven commands of the page take a labelme folder to a report, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from solo.cli import main
from tests.helpers.pages import blocks, words_of
from tests.helpers.paths import ROOT

SIDE, IMAGES = 96, 12
COLORS = {"cell": (200, 180, 60), "debris": (60, 90, 220)}
LOADERS = [
    f"{split}_dataloader.{key}"
    for split in ("train", "val", "test")
    for key in ("num_workers=0", "persistent_workers=False")
]
SHORT = ["train_cfg.max_epochs=1", "train_cfg.val_interval=1", "train_dataloader.batch_size=4"]


def write_labelme_folder(folder: Path) -> None:
    """Images with a rectangle of each class, and labelme's file beside each."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(IMAGES):
        image, shapes = np.full((SIDE, SIDE, 3), 30, np.uint8), []
        for (label, color), corner in zip(COLORS.items(), ((10, 12), (56, 50)), strict=True):
            x, y = (np.array(corner) + random.integers(0, 12, 2)).tolist()
            points = [[x, y], [x + 24, y], [x + 24, y + 22], [x, y + 22]]
            cv2.fillPoly(image, [np.array(points, np.int32)], color)
            shapes.append(dict(label=label, points=points, shape_type="polygon", group_id=None, flags={}))
        cv2.imwrite(str(folder / f"{number}.png"), image)
        record = dict(version="5.4.1", flags={}, shapes=shapes, imagePath=f"{number}.png", imageData=None)
        record.update(imageHeight=SIDE, imageWidth=SIDE)
        (folder / f"{number}.json").write_text(json.dumps(record))


def commands() -> list[list[str]]:
    """The words of the commands of the first section."""
    page = ROOT / "docs/train_your_own.md"
    section = page.read_text(encoding="utf-8").partition("\n## 1.")[0]
    found = [block for block in blocks(page, "bash") if block in section]
    return [words_of(line)[1:] for block in found for line in block.splitlines()]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_seven_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_labelme_folder(tmp_path / "labelled")
    *seven, predict = commands()
    names = [words[1] if words[0] == "data" else words[0] for words in seven]
    assert names == ["convert", "split", "check", "browse", "tune", "train", "test"]
    for words in seven:
        options = {"train": [*SHORT, *LOADERS], "test": LOADERS}.get(words[0], [])
        assert main([*words, *(["--cfg-options", *options] if options else [])]) == 0, words
    out = capsys.readouterr().out
    assert "24 objects" in out and "Trained 1 of 1 epochs. Best epoch 1: mask AP" in out
    assert Path("browse.html").stat().st_size > 10_000
    report = json.loads(Path("work_dirs/my_tuned/report/report.json").read_text())
    assert [one["name"] for one in report["classes"]] == list(COLORS)
    assert report["images"] == 3 and report["overall"]["objects"] == 6  # a fifth of the images, at least
    (tmp_path / "photos").mkdir()
    cv2.imwrite("photos/new.jpg", cv2.imread("labelled/0.png"))
    words = [str(tmp_path / "photos") if word.startswith("photos/") else word for word in predict]
    assert main(words) == 0
