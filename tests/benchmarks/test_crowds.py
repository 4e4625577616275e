"""Crowded scenes: what is rendered, figures by hand, and the command on the model that comes with solo."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.crowds import COVERED, STAGES, Scene, evaluate, main, render_scene
from solo.inference.instances import Instances
from solo.masks.column_runs import runs_from_bitmaps
from solo.masks.rle import decode_masks, encode_runs


@pytest.mark.parametrize("count", [5, 200])
def test_scenes(count: int) -> None:
    """As many objects as asked for, none over another, brighter than the background, the same each time."""
    scene = render_scene(count, side=160, seed=3)
    masks = decode_masks(encode_runs(scene.objects), size=(160, 160))
    assert len(masks) == count
    assert masks.sum(axis=0).max() == 1
    assert masks.any(axis=(1, 2)).all()
    assert masks.sum() / 160**2 == pytest.approx(COVERED, rel=0.3)
    covered = cv2.erode(masks.any(axis=0).astype(np.uint8), np.ones((3, 3))) > 0
    assert np.percentile(scene.image[covered], 5) > np.percentile(scene.image[~masks.any(axis=0)], 50)
    again = render_scene(count, side=160, seed=3)
    assert np.array_equal(again.image, scene.image)
    assert not np.array_equal(render_scene(count, side=160, seed=4).image, scene.image)


def test_many_objects_touch() -> None:
    masks = decode_masks(encode_runs(render_scene(200, side=300).objects), size=(300, 300))
    grown = [cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) > 0 for mask in masks]
    others = masks.any(axis=0) & ~masks
    assert sum((a & b).any() for a, b in zip(grown, others, strict=True)) > 20


def test_figures_by_hand() -> None:
    """Of four objects two are found from 0.3 up and a third below; one detection of 0.8 is on background."""
    windows = [(left, 10, np.ones((20, 20), bool)) for left in (0, 30, 60, 90)]
    scene = Scene(np.zeros((60, 120, 3), np.uint8), runs_from_bitmaps(windows, height=60, width=120))
    shown = runs_from_bitmaps([*windows[:2], (0, 40, np.ones((9, 9), bool)), windows[2]], height=60, width=120)
    found = Instances(
        labels=np.zeros(4, int),
        scores=np.array([0.9, 0.8, 0.7, 0.2], np.float32),
        boxes=shown.tight_boxes().astype(np.float32),
        rles=encode_runs(shown),
        image_size=(60, 120),
        classes=("object",),
    )
    figures = evaluate([scene], [found], score_thr=0.3)
    assert figures["recall"] == 2 / 4
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["mask_ap"] == pytest.approx((51 + 25 * 0.75) / 101)


def test_nothing_found() -> None:
    nothing = Instances(labels=[], scores=[], boxes=[], rles=[], image_size=(64, 64), classes=("object",))
    figures = evaluate([render_scene(3, side=64)], [nothing], score_thr=0.3)
    assert figures == dict(recall=0, precision=0, mask_ap=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objects", "0"], "at least 1"),
        (["nowhere.py", "weights.pth"], "nowhere.py"),
        (["--tile", "0", "--tile-scale", "2"], "tiles"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["crowds", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--objects", "10", "20", "--images", "1", "--side", "160", "--tile", "192", "--tile-scale", "1"]
    monkeypatch.setattr(sys, "argv", ["crowds", *options, "--threads", "1", "--json", str(tmp_path / "rows.json")])
    main()
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["objects"] for row in rows] == [10, 20]
    assert rows[0]["width"] > 1.3 * rows[1]["width"]
    for row in rows:
        assert row["recall"] > 0.3 and row["precision"] > 0.5 and row["mask_ap"] > 0.2
        assert set(row["milliseconds"]) == {"total", *STAGES}
        assert row["milliseconds"]["network"] > 0 < row["milliseconds"]["join"]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["objects", "10", "20"]
