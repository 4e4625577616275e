"""Identities of objects across the frames of a video."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from solo.errors import ConfigError
from solo.inference.instances import Instances
from solo.inference.sources import Frame
from solo.masks.rle import decode_windows

UNTRACKED = -1
_UNSURE_IOU = 0.5
TRACKERS = ("bytetrack", "iou")
Vector: TypeAlias = npt.NDArray[np.float64]


class Tracker(Protocol):
    """Gives identities, frame by frame of one video."""

    def update(self, instances: Instances) -> Instances:
        """The instances with `ids`: 0, 1, ... in the order of appearance, -1 for what is not tracked."""


def make_tracker(name: str, *, score_thr: float) -> Callable[[], Tracker]:
    """What makes a tracker for each video.

    Args:
        name: one of `TRACKERS`.
        score_thr: an object gets an identity once it has this score; it keeps it while its score is lower.

    Raises:
        ConfigError: the name is unknown, or a package is missing.
    """
    if name == "iou":
        return lambda: MaskIoUTracker(score_thr=score_thr)
    if name != "bytetrack":
        raise ConfigError(f"tracker {name!r} is unknown, expected one of {', '.join(TRACKERS)}")
    try:
        importlib.import_module("trackers")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tracker bytetrack needs {error.name}: pip install 'solov2[track]'; tracker iou needs no package"
        ) from None
    return lambda: ByteTracker(score_thr=score_thr)


def track(
    results: Iterable[tuple[Frame, Instances]], tracker: Callable[[], Tracker]
) -> Iterator[tuple[Frame, Instances]]:
    """Give the instances identities. Each video has its own; image files are taken as one sequence.

    Args:
        results: frames and instances in order, as of `predict_stream`.
        tracker: makes a tracker.
    """
    current, sequence = tracker(), ""
    for frame, instances in results:
        if (frame.sequence or "") != sequence:
            current, sequence = tracker(), frame.sequence or ""
        yield frame, current.update(instances)


class ByteTracker:
    """ByteTrack, from roboflow's `trackers`: boxes, a Kalman filter, and a second pass for uncertain objects."""

    def __init__(self, *, score_thr: float, max_age: int = 30) -> None:
        """Start without tracks; arguments as of `MaskIoUTracker`."""
        self._supervision: Any = importlib.import_module("supervision")
        self._tracker = importlib.import_module("trackers").ByteTrackTracker(
            lost_track_buffer=max_age,
            track_activation_threshold=score_thr,
            high_conf_det_threshold=score_thr,
            minimum_consecutive_frames=1,
        )

    def update(self, instances: Instances) -> Instances:
        """The instances with their identities; a new object has none in its first frame."""
        found = self._supervision.Detections(
            xyxy=instances.boxes,
            confidence=instances.scores,
            class_id=instances.labels,
            data={"row": np.arange(len(instances))},
        )
        tracked = self._tracker.update(found)
        ids = np.full(len(instances), UNTRACKED)
        if len(tracked):  # in an order of its own
            ids[tracked.data["row"]] = tracked.tracker_id
        return replace(instances, ids=ids)


@dataclass
class _Track:
    """An object that was seen, and where it is expected: `left` and `top` move, the pixels stay as they were seen."""

    id: int
    patch: _Patch
    velocity: Vector  # (2,) pixels a frame, x y
    age: int = 0  # frames since it was seen
    steps: int = 0  # how often its velocity was measured

    def expected(self) -> _Patch:
        steps = np.round(self.velocity * (self.age + 1)).astype(int)
        return replace(self.patch, left=self.patch.left + int(steps[0]), top=self.patch.top + int(steps[1]))


@dataclass(frozen=True)
class _Patch:
    """A mask within its box."""

    left: int
    top: int
    pixels: npt.NDArray[np.bool_]  # (h, w)
    area: int

    def center(self) -> Vector:
        height, width = self.pixels.shape
        return np.array([self.left + width / 2, self.top + height / 2])

    def iou(self, other: _Patch) -> float:
        left, top = max(self.left, other.left), max(self.top, other.top)
        right = min(self.left + self.pixels.shape[1], other.left + other.pixels.shape[1])
        bottom = min(self.top + self.pixels.shape[0], other.top + other.pixels.shape[0])
        if left >= right or top >= bottom:
            return 0.0
        shared = np.count_nonzero(
            self.pixels[top - self.top : bottom - self.top, left - self.left : right - self.left]
            & other.pixels[top - other.top : bottom - other.top, left - other.left : right - other.left]
        )
        return shared / (self.area + other.area - shared)


class MaskIoUTracker:
    """Joins masks that overlap most, after each track has moved on at its velocity, which is smoothed over frames.

    Pairs are taken by descending IoU, each track and each object once; objects of low scores take what the others
    leave, if they lie where they are expected. The class is ignored: a detector may change its mind. A track that is
    not seen goes on moving until it is too old.
    """

    def __init__(
        self, *, score_thr: float = 0.3, iou_thr: float = 0.05, max_age: int = 30, smoothing: float = 0.9
    ) -> None:
        """Start without tracks.

        Args:
            score_thr: score from which an object starts a track; the objects of a track may have less.
            iou_thr: smallest IoU of a track and an object that are joined.
            max_age: frames for which a track that is not seen is remembered.
            smoothing: weight of the earlier velocity, 0 to 1.
        """
        self._score_thr = score_thr
        self._iou_thr = iou_thr
        self._max_age = max_age
        self._smoothing = smoothing
        self._tracks: list[_Track] = []
        self._next_id = 0

    def update(self, instances: Instances) -> Instances:
        """The instances with their identities."""
        patches = list(_patches(instances))
        ids = np.full(len(instances), UNTRACKED)
        seen = set()
        for index, row in self._pairs(patches, (instances.scores >= self._score_thr).tolist()):
            track, patch = self._tracks[index], patches[row]
            if patch is not None:
                self._move(track, patch)
                ids[row] = track.id
                seen.add(index)
        for index, track in enumerate(self._tracks):
            track.age += index not in seen
        self._tracks = [track for track in self._tracks if track.age <= self._max_age]
        for row in np.flatnonzero((ids == UNTRACKED) & (instances.scores >= self._score_thr)).tolist():
            patch = patches[row]
            if patch is not None:
                ids[row] = self._next_id
                self._tracks.append(_Track(self._next_id, patch, np.zeros(2)))
                self._next_id += 1
        return replace(instances, ids=ids)

    def _move(self, track: _Track, patch: _Patch) -> None:
        """Take over the mask; the mean velocity of the first frames, then an exponential average."""
        step = (patch.center() - track.patch.center()) / (track.age + 1)
        track.steps += 1
        weight = max(1 - self._smoothing, 1 / track.steps)
        track.velocity = (1 - weight) * track.velocity + weight * step
        track.patch, track.age = patch, 0

    def _pairs(self, patches: list[_Patch | None], is_sure: list[bool]) -> Iterator[tuple[int, int]]:
        """Indices of tracks and rows that belong together."""
        expected = [track.expected() for track in self._tracks]
        overlaps = [
            (is_sure[row], mine.iou(patch), index, row)
            for row, patch in enumerate(patches)
            if patch is not None
            for index, mine in enumerate(expected)
        ]
        used_tracks, used_rows = set(), set()
        for sure, iou, index, row in sorted(overlaps, reverse=True):
            is_close = iou >= (self._iou_thr if sure else _UNSURE_IOU)
            if is_close and index not in used_tracks and row not in used_rows:
                used_tracks.add(index)
                used_rows.add(row)
                yield index, row


def _patches(instances: Instances) -> Iterator[_Patch | None]:
    """Each mask within its box, None for an object without a pixel."""
    for left, pixels in decode_windows(instances.rles, size=instances.image_size):
        rows = np.flatnonzero(pixels.any(axis=1))
        if len(rows):
            inside = pixels[rows[0] : rows[-1] + 1]
            yield _Patch(int(left), int(rows[0]), inside, int(np.count_nonzero(inside)))
        else:
            yield None
