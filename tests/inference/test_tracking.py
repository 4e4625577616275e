"""Identities: hand-made tracks, and IDF1 on rendered videos with a detector that errs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.tracking import (
    TrueFrame,
    idf1,
    instances_of_masks,
    mask_ious,
    render_moving_shapes,
    track_detections,
)
from solo.cli import main
from solo.errors import ConfigError
from solo.inference.instances import Instances
from solo.inference.sources import Frame
from solo.inference.tracking import MaskIoUTracker, make_tracker, track
from solo.inference.visualization import draw_instances
from tests.helpers.fakes import SIDE, write_checkpoint, write_config
from tests.helpers.videos import gray_frames, write_video

SIZE = (60, 200)
CLASSES = ("a", "b")


def boxes(*corners: tuple[int, int], labels: list[int] | None = None, scores: list[float] | None = None) -> Instances:
    """Squares of 10 pixels at (left, top)."""
    masks = np.zeros((len(corners), *SIZE), bool)
    for mask, (left, top) in zip(masks, corners, strict=True):
        mask[top : top + 10, left : left + 10] = True
    return instances_of_masks(
        masks,
        np.array(labels or [0] * len(corners), np.int64),
        np.array(scores or [0.9] * len(corners)),
        classes=CLASSES,
    )


def test_an_object_keeps_its_identity_behind_another() -> None:
    """It moves 6 pixels a frame and is hidden for 8 frames: its mask never meets the one that was seen last."""
    tracker = MaskIoUTracker()
    ids = []
    for step in range(25):
        is_hidden = 10 <= step < 18
        found = boxes((100, 40)) if is_hidden else boxes((100, 40), (6 * step, 5))
        ids.append(tracker.update(found).ids.tolist())
    assert ids == [[0] if 10 <= step < 18 else [0, 1] for step in range(25)]


def test_tracks_end_and_identities_are_not_used_again() -> None:
    tracker = MaskIoUTracker(max_age=2)
    assert tracker.update(boxes((0, 0))).ids.tolist() == [0]
    for _ in range(2):
        assert tracker.update(boxes()).ids.tolist() == []
    assert tracker.update(boxes((0, 0))).ids.tolist() == [0]
    for _ in range(3):
        tracker.update(boxes())
    assert tracker.update(boxes((0, 0))).ids.tolist() == [1]


def test_scores_classes_and_the_best_pairs() -> None:
    tracker = MaskIoUTracker(score_thr=0.5)
    assert tracker.update(boxes((0, 0), (50, 0), (99, 9), scores=[0.9, 0.6, 0.4])).ids.tolist() == [0, 1, -1]
    # A low score goes on with a track, and so does another class.
    assert tracker.update(boxes((50, 1), (0, 0), labels=[0, 1], scores=[0.1, 0.9])).ids.tolist() == [1, 0]
    # But not where it is not expected, and never in place of a sure one.
    assert tracker.update(boxes((0, 1), (0, 0), (56, 0), scores=[0.9, 0.2, 0.2])).ids.tolist() == [0, -1, -1]
    # Of two that overlap the track of (0, 0), the nearer one takes it.
    assert tracker.update(boxes((4, 0), (1, 0))).ids.tolist() == [2, 0]


def test_masks_without_pixels() -> None:
    empty = Instances(
        labels=[0],
        scores=[0.9],
        boxes=[[0, 0, 0, 0]],
        rles=[dict(size=[4, 4], counts="`0")],
        image_size=(4, 4),
        classes=("a",),
    )
    assert MaskIoUTracker().update(empty).ids.tolist() == [-1]


def test_idf1_by_hand() -> None:
    truth = [
        TrueFrame(np.zeros((*SIZE, 3), np.uint8), np.arange(2), np.zeros(2, int), boxes((0, 0), (50, 0)).to_bool())
    ] * 4

    def tracked(*ids: tuple[int, int]) -> list[Instances]:
        found = boxes((0, 0), (50, 0))
        return [
            Instances(
                **{
                    name: getattr(found, name)
                    for name in ("labels", "scores", "boxes", "rles", "image_size", "classes")
                },
                ids=pair,
            )
            for pair in ids
        ]

    assert idf1(truth, tracked(*[(5, 7)] * 4)) == 1.0
    assert idf1(truth, tracked((0, 1), (0, 1), (0, 1), (1, 0))) == pytest.approx(6 / 8)
    # Without the second object in two frames: 6 of 8 true and 6 of 6 tracked.
    assert idf1(truth, tracked((0, 1), (0, 1), (0, -1), (0, -1))) == pytest.approx(2 * 6 / 14)
    assert idf1(truth, tracked(*[(-1, -1)] * 4)) == 0.0


def detect(truth: list[TrueFrame], rng: np.random.Generator) -> list[Instances]:
    """True masks, eroded or dilated, moved by a pixel; 6 % of the objects are missed, covered ones more often."""
    found = []
    for frame in truth:
        masks, labels, scores = [], [], []
        for mask, label in zip(frame.masks, frame.labels, strict=True):
            change = cv2.erode if rng.random() < 0.5 else cv2.dilate
            noisy = change(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
            noisy = np.roll(noisy, rng.integers(-1, 2, 2), axis=(0, 1)).astype(bool)
            if noisy.sum() >= 30 and rng.random() > 0.06:
                masks.append(noisy)
                labels.append(label)
                scores.append(rng.uniform(0.4, 0.95))
        stack = np.array(masks, bool).reshape(len(masks), *frame.masks.shape[1:])
        found.append(instances_of_masks(stack, np.array(labels, np.int64), np.array(scores), classes=list("abcd")))
    return found


@pytest.mark.parametrize(("tracker", "expected"), [("iou", 0.8), ("bytetrack", 0.75)])
def test_idf1_of_rendered_videos(tracker: str, expected: float) -> None:
    if tracker == "bytetrack":
        pytest.importorskip("trackers")
    values = []
    for seed in range(100, 104):
        rng = np.random.default_rng(seed)
        truth = render_moving_shapes(rng=rng)
        tracked = track_detections(detect(truth, rng), tracker)
        values.append(idf1(truth, tracked))
        if tracker == "iou":
            _compare_with_trackeval(truth, tracked, values[-1])
    assert np.mean(values) > expected, values


def _compare_with_trackeval(truth: list[TrueFrame], tracked: list[Instances], value: float) -> None:
    """By the port of TrackEval that roboflow's trackers brings."""
    identity = pytest.importorskip("trackers.eval.identity")
    found = [objects[objects.ids >= 0] for objects in tracked]
    similarities = [mask_ious(frame.masks, objects.to_bool()) for frame, objects in zip(truth, found, strict=True)]
    result = identity.compute_identity_metrics(
        [frame.ids for frame in truth], [objects.ids for objects in found], similarities, threshold=0.5
    )
    assert value == pytest.approx(result["IDF1"])


def test_each_video_has_its_own_identities() -> None:
    def frame(name: str) -> Frame:
        return Frame(image=np.zeros((*SIZE, 3), np.uint8), index=0, time=0.0, path=name, name=f"{name}/000000")

    results = [(frame(name), boxes((left, 0))) for name, left in (("x", 0), ("x", 50), ("y", 0), ("y", 1))]
    ids = [found.ids.tolist() for _, found in track(results, make_tracker("iou", score_thr=0.3))]
    assert ids == [[0], [1], [0], [0]]


def test_an_identity_has_one_color_and_its_number() -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    found = boxes((0, 0), (50, 20))
    tracked = Instances(**{**vars(found), "ids": [7, 3]})
    swapped = tracked[[1, 0]]
    assert swapped.ids.tolist() == [3, 7]
    drawn = [draw_instances(image, instances, draw_labels=False) for instances in (tracked, swapped)]
    np.testing.assert_array_equal(*drawn)
    assert (draw_instances(image, tracked) != draw_instances(image, found)).any()
    annotations = Instances(**{**vars(found), "ids": [7, -1]}).to_coco(image_id=1)
    assert [annotation.get("track_id") for annotation in annotations] == [7, None]
    with pytest.raises(ValueError, match="ids"):
        Instances(**{**vars(found), "ids": [1]})


def test_bytetrack_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ConfigError, match=r"pip install 'solov2\[track\]'; tracker iou needs no package"):
        make_tracker("bytetrack", score_thr=0.3)
    with pytest.raises(ConfigError, match="expected one of bytetrack, iou"):
        make_tracker("sort", score_thr=0.3)


@pytest.mark.parametrize("tracker", ["iou", "bytetrack"])
def test_the_command_writes_identities(tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if tracker == "bytetrack":
        pytest.importorskip("trackers")
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", gray_frames(4, size=(SIDE, SIDE)))
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    words = ["--config", str(config), "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main(["predict", "clip.mp4", *words, "--track", tracker, "--save-video"]) == 0
    annotations = json.loads(Path("predictions/predictions.json").read_text())["annotations"]
    ids = [annotation.get("track_id") for annotation in annotations]
    assert ids == ([0] * 4 if tracker == "iou" else [None, 0, 0, 0])
    assert Path("predictions/clip.mp4").is_file()
