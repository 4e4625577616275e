"""Boundary AP by hand, against slow loops, and against pycocotools' own matching."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.evaluation.boundary import boundary_width, encode_boundaries
from solo.masks.rle import decode_masks, encode_masks
from tests.helpers.evaluation import (
    HEIGHT,
    STAT_KEYS,
    WIDTH,
    annotation,
    evaluate,
    prediction,
    random_scene,
    rectangle,
    write_file,
)

Mask = np.ndarray
LIMIT = 4  # 0.02 x 200 pixels, the diagonal of the images of the helpers
BOUNDARY_KEYS = [f"coco/boundary_{key}" for key in STAT_KEYS]


def boundary(mask: Mask) -> Mask:
    return decode_masks(encode_boundaries(encode_masks(mask[None])), size=mask.shape)[0]


def slow_boundary(mask: Mask, limit: int) -> Mask:
    """Erode by 3 x 3 pixels `limit` times; what is outside is background."""
    height, width = mask.shape
    left = mask.copy()
    for _ in range(limit):
        eroded = np.zeros_like(left)
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                eroded[y, x] = all(left[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1))
        left = eroded
    return mask & ~left


def slow_iou(found: Mask, wanted: Mask) -> float:
    """min(mask IoU, Boundary IoU)."""
    pairs = [(found, wanted), tuple(slow_boundary(mask, boundary_width(*mask.shape)) for mask in (found, wanted))]
    return min((a & b).sum() / max((a | b).sum(), 1) for a, b in pairs)


def ap(folder: Path, wanted: list[Mask], found: list[Mask], **options: Any) -> dict[str, float]:
    """AP of one class in one image, the detections best first."""
    ann_file = write_file(folder, [annotation(mask, image_id=10, category_id=3) for mask in wanted], num_images=1)
    scores = np.linspace(0.9, 0.1, len(found)).tolist()
    return evaluate(ann_file, [prediction(10, found, [0] * len(found), scores)], metric=("segm", "boundary"), **options)


def share_of_thresholds(iou: float) -> float:
    """AP of one object with one detection."""
    return float((np.linspace(0.5, 0.95, 10) <= iou).mean())


@pytest.mark.parametrize(
    ("size", "width"), [((3, 4), 1), ((120, 160), 4), ((1, 1), 1), ((480, 640), 16), ((30, 40), 1), ((256, 256), 7)]
)
def test_width_is_a_fiftieth_of_the_diagonal(size: tuple[int, int], width: int) -> None:
    assert boundary_width(*size) == width


def test_a_square_by_hand() -> None:
    """The boundary is a frame of four pixels: 20 x 20 without 12 x 12."""
    inner = rectangle(54, 44, 12, 12)
    assert np.array_equal(boundary(rectangle(50, 40, 20, 20)), rectangle(50, 40, 20, 20) & ~inner)


def test_the_border_of_the_image_is_boundary() -> None:
    whole = np.ones((HEIGHT, WIDTH), bool)
    assert np.array_equal(boundary(whole), whole & ~rectangle(4, 4, WIDTH - 8, HEIGHT - 8))
    assert np.array_equal(boundary(rectangle(0, 0, 20, 20)), rectangle(0, 0, 20, 20) & ~rectangle(4, 4, 12, 12))


@pytest.mark.parametrize("side", [1, 2, 8])
def test_small_masks_are_all_boundary(side: int) -> None:
    assert np.array_equal(boundary(rectangle(30, 30, side, side)), rectangle(30, 30, side, side))


def test_a_hole_has_a_boundary() -> None:
    """One missing pixel takes the nine by nine around it."""
    holed = rectangle(10, 10, 60, 60)
    holed[40, 40] = False
    expected = boundary(rectangle(10, 10, 60, 60)) | rectangle(36, 36, 9, 9)
    expected[40, 40] = False
    assert np.array_equal(boundary(holed), expected)


def test_no_mask_and_masks_without_a_pixel() -> None:
    assert encode_boundaries([]) == []
    assert not boundary(np.zeros((7, 9), bool)).any()


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        encode_boundaries([*encode_masks(np.ones((1, 4, 5), bool)), *encode_masks(np.ones((1, 5, 4), bool))])


def test_memory_does_not_hold_all_bitmaps() -> None:
    """Thirty masks of a million pixels, one bitmap at a time."""
    rles = encode_masks(np.ones((1, 1000, 1000), bool)) * 30
    tracemalloc.start()
    try:
        encode_boundaries(rles)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 90)), elements=st.sampled_from([True] * 9 + [False])))
def test_boundaries_equal_slow_erosions(mask: Mask) -> None:
    assert np.array_equal(boundary(mask), slow_boundary(mask, boundary_width(*mask.shape)))


def test_a_shifted_square_by_hand(tmp_path: Path) -> None:
    """By one pixel: masks share 60 x 59 of 60 x 61 pixels; frames have 896 each and share 752 of 1040."""
    square, shifted = rectangle(20, 20, 60, 60), rectangle(21, 20, 60, 60)
    frames = [60 * 60 - 52 * 52] * 2
    # Without the corners' rows: top and bottom bands of 4 rows share 59 columns each; of the 52 rows between them
    # the left and the right band share 3 columns each.
    common = 2 * 4 * 59 + 52 * (3 + 3)
    boundary_iou = common / (sum(frames) - common)
    assert slow_iou(shifted, square) == pytest.approx(boundary_iou)
    metrics = ap(tmp_path, [square], [shifted])
    assert metrics["coco/segm_mAP"] == pytest.approx(share_of_thresholds(59 / 61)) == pytest.approx(1.0)
    assert metrics["coco/boundary_mAP"] == pytest.approx(share_of_thresholds(boundary_iou)) == pytest.approx(0.6)


def test_one_pixel_masks(tmp_path: Path) -> None:
    here, there = rectangle(0, 0, 1, 1), rectangle(159, 119, 1, 1)
    assert ap(tmp_path, [here, there], [here, there])["coco/boundary_mAP"] == pytest.approx(1.0)
    assert ap(tmp_path, [here], [rectangle(1, 0, 1, 1)])["coco/boundary_mAP"] == 0


def test_the_inside_does_not_hide_the_outline(tmp_path: Path) -> None:
    """A pixel less on all sides costs a mask of 100 x 100 little, its boundary much: 96 % and 60 %."""
    whole, smaller = rectangle(20, 10, 100, 100), rectangle(21, 11, 98, 98)
    metrics = ap(tmp_path, [whole], [smaller])
    assert metrics["coco/segm_mAP"] == pytest.approx(share_of_thresholds(0.9604)) == pytest.approx(1.0)
    common = 98**2 - 92**2
    boundary_iou = common / ((100**2 - 92**2) + (98**2 - 90**2) - common)
    assert metrics["coco/boundary_mAP"] == pytest.approx(share_of_thresholds(boundary_iou)) == pytest.approx(0.3)


def test_the_smaller_iou_counts(tmp_path: Path) -> None:
    """A ring of the boundary alone has the object's boundary, but not its inside."""
    solid = rectangle(20, 20, 60, 60)
    ring = boundary(solid)
    assert np.array_equal(boundary(ring), ring)
    assert ap(tmp_path, [solid], [ring])["coco/boundary_mAP"] == 0


def test_a_detection_within_a_crowd_is_no_mistake(tmp_path: Path) -> None:
    """Its boundary has nothing of the crowd's: crowds are compared by masks."""
    single, crowd = rectangle(5, 5, 30, 30), rectangle(60, 5, 80, 80)
    annotations = [annotation(single, image_id=10, category_id=3), annotation(crowd, image_id=10, category_id=3)]
    annotations[1]["iscrowd"] = 1
    ann_file = write_file(tmp_path, annotations)
    inside = rectangle(80, 25, 20, 20)
    assert not (boundary(inside) & boundary(crowd)).any()
    metrics = evaluate(ann_file, [prediction(10, [inside, single], [0, 0], [0.9, 0.5])], metric="boundary")
    assert metrics["coco/boundary_mAP"] == pytest.approx(1.0)
    assert set(metrics) == set(BOUNDARY_KEYS)


def test_max_dets_and_areas(tmp_path: Path) -> None:
    masks = [rectangle(x, 5, 8, 8) for x in range(0, 40, 10)]
    metrics = ap(tmp_path, masks, masks, max_dets=2)
    assert metrics["coco/boundary_mAP"] == metrics["coco/boundary_mAP_s"] == pytest.approx(51 / 101)
    assert metrics["coco/boundary_mAP_m"] == metrics["coco/boundary_mAP_l"] == -1


class SlowEvaluator(COCOeval):
    """pycocotools' matching of IoUs that loops computed."""

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: N802, N803
        ious = super().computeIoU(imgId, catId)
        if len(ious) == 0:
            return ious
        detections = sorted(self._dts[imgId, catId], key=lambda each: -each["score"])
        for column, thing in enumerate(self._gts[imgId, catId]):
            for row, each in enumerate(detections[: len(ious)]):
                if not thing["iscrowd"] and ious[row, column] > 0.4:  # loops are slow
                    ious[row, column] = slow_iou(*(mask_api.decode(a["segmentation"]) > 0 for a in (each, thing)))
        return ious


@pytest.mark.parametrize("max_dets", [2, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_slow_loops(tmp_path: Path, seed: int, max_dets: int) -> None:
    """Crowds, all sizes, borders of the image, wrong classes."""
    annotations, predictions = random_scene(seed)
    ann_file = write_file(tmp_path, annotations[:12], num_images=4)
    results_file = tmp_path / "results.json"
    metrics = evaluate(
        ann_file, predictions, metric=("segm", "boundary"), max_dets=max_dets, results_file=str(results_file)
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(ann_file)
        evaluator = SlowEvaluator(truth, truth.loadRes(str(results_file)), "segm")
        evaluator.params.maxDets = [min(1, max_dets), min(10, max_dets), max_dets]
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"][..., -1]
    for index, key in enumerate(("mAP", "mAP_s", "mAP_m", "mAP_l")):
        defined = precision[..., index][precision[..., index] > -1]
        expected = defined.mean() if defined.size else -1
        assert metrics[f"coco/boundary_{key}"] == pytest.approx(expected, abs=1e-12)
    assert 0 < metrics["coco/boundary_mAP"] < metrics["coco/segm_mAP"]


@st.composite
def _cells(draw: st.DrawFn) -> tuple[list[Mask], list[Mask]]:
    """Objects in cells of their own, and detections of them that stay in the cell."""
    wanted, found = [], []
    for x, y in ((4, 4), (84, 4), (4, 64), (84, 64)):
        width, height = draw(st.integers(1, 60)), draw(st.integers(1, 45))
        wanted.append(rectangle(x + 4, y + 3, width, height))
        for _ in range(draw(st.integers(0, 2))):
            dx, dy, dw, dh = (draw(st.integers(-3, 3)) for _ in range(4))
            found.append(rectangle(x + 4 + dx, y + 3 + dy, max(width + dw, 1), max(height + dh, 1)))
    return wanted, draw(st.permutations(found))


@settings(max_examples=40, deadline=None)
@given(_cells())
def test_range_and_at_most_mask_ap(
    tmp_path_factory: pytest.TempPathFactory, cells: tuple[list[Mask], list[Mask]]
) -> None:
    """Where objects are apart, no lower IoU can lead to a better assignment."""
    metrics = ap(tmp_path_factory.mktemp("cells"), *cells)
    for key in STAT_KEYS:
        lower, upper = metrics[f"coco/boundary_{key}"], metrics[f"coco/segm_{key}"]
        assert (lower == upper == -1) or 0 <= lower <= upper + 1e-12 <= 1 + 2e-12
