from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from mmengine.structures import InstanceData

from solo.models import Grid, MatrixNMS, SOLOv2PostProcessor
from solo.ops import boxes_from_masks, encode_bitmaps, pack_bits
from solo.structures import SOLOv2Outputs
from tests.models.postprocess_oracle import loop_oracle

NAN, INF = float("nan"), float("inf")


def processor_of(
    num_grids: tuple[int, ...] = (2, 1), strides: tuple[int, ...] = (2, 4), kernel: str = "gaussian", **options: Any
) -> SOLOv2PostProcessor:
    grid = Grid(num_grids=num_grids, strides=strides, scale_ranges=[(1, 9)] * len(num_grids))
    return SOLOv2PostProcessor(grid=grid, nms=MatrixNMS(kernel=kernel), **options)  # type: ignore[arg-type]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def blank(*, cells: int = 5, classes: int = 2, channels: int = 4, side: int = 4, images: int = 1) -> SOLOv2Outputs:
    """Outputs without a candidate; channel e of the mask features is 1 in stripe e of four, -1 elsewhere."""
    mask_feats = torch.full((images, channels, side, side), -1.0)
    for channel in range(channels):
        mask_feats[:, channel, channel * side // channels : (channel + 1) * side // channels] = 1
    return SOLOv2Outputs(
        torch.full((images, cells, classes), logit(0.01)), torch.zeros(images, cells, channels), mask_feats
    )


def put(
    outputs: SOLOv2Outputs, cell: int, label: int, score: float, channel: int, *, strength: float = 50.0, image: int = 0
) -> SOLOv2Outputs:
    """A candidate whose mask is one stripe; its maskness is sigmoid(strength)."""
    outputs.cls_logits[image, cell, label] = logit(score)
    outputs.kernels[image, cell] = 0
    outputs.kernels[image, cell, channel] = strength
    return outputs


def detect(
    outputs: SOLOv2Outputs,
    *,
    size: tuple[int, int] | None = None,
    original: tuple[int, int] | None = None,
    **options: Any,
) -> InstanceData:
    height, width = (4 * side for side in outputs.mask_feats.shape[-2:])
    sizes = [size or (height, width)] * len(outputs.mask_feats)
    originals = [original or sizes[0]] * len(sizes)
    return processor_of(**options)(outputs, image_sizes=sizes, original_sizes=originals)[0]


def assert_contract(result: InstanceData, original: tuple[int, int]) -> None:
    """Types, shapes and order of any result, empty ones included."""
    count = len(result.labels)
    assert result.labels.dtype == torch.int64
    assert result.scores.dtype == torch.float32
    assert result.masks.dtype == torch.bool
    assert result.bboxes.dtype == torch.float32
    assert result.scores.shape == (count,)
    assert result.masks.shape == (count, *original)
    assert result.bboxes.shape == (count, 4)
    assert result.scores.isfinite().all()
    assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)
    assert torch.equal(result.bboxes, boxes_from_masks(result.masks))


@pytest.mark.parametrize(
    "limits",
    [
        dict(),
        dict(nms_pre=7),
        dict(max_per_img=5),
        dict(filter_thr=0.3),
        dict(score_thr=0.5),
        dict(mask_thr=0.6),
        dict(min_area_factor=0.0),
    ],
)
def test_against_loops(limits: dict[str, Any], generator: torch.Generator) -> None:
    settings: dict[str, Any] = dict(
        score_thr=0.2, mask_thr=0.5, nms_pre=100, filter_thr=0.05, max_per_img=50, min_area_factor=6.0
    )
    settings.update(limits)
    levels = dict(num_grids=(4, 3, 1), strides=(2, 4, 8))
    outputs = SOLOv2Outputs(
        torch.randn(2, 26, 3, generator=generator),
        torch.randn(2, 26, 4, generator=generator),
        torch.randn(2, 4, 6, 8, generator=generator),
    )
    results = processor_of(**levels, **settings)(outputs, image_sizes=[(24, 32)] * 2, original_sizes=[(50, 61)] * 2)
    for image, result in enumerate(results):
        assert_contract(result, (50, 61))
        expected = loop_oracle(outputs, image, **levels, **settings, original=(50, 61))
        assert len(result.labels) == len(expected) > 2
        assert result.scores.tolist() == pytest.approx([score for score, _, _ in expected], rel=1e-4)
        assert result.labels.tolist() == [label for _, label, _ in expected]
        for mask, (_, _, drawn) in zip(result.masks, expected, strict=True):
            assert (mask != drawn).sum() <= 3


# ---------------------------------------------------------------------------------------------------------- by hand
def test_one_object() -> None:
    outputs = put(blank(), cell=0, label=1, score=0.8, channel=1)
    result = detect(outputs)
    assert_contract(result, (16, 16))
    assert result.labels.tolist() == [1]
    assert result.scores.tolist() == pytest.approx([0.8])
    assert result.bboxes.tolist() == [[0, 4, 16, 8]]
    assert result.masks[0].sum() == 64


def test_maskness_multiplies_the_score() -> None:
    result = detect(put(blank(), cell=0, label=0, score=0.8, channel=2, strength=logit(0.75)))
    assert result.scores.tolist() == pytest.approx([0.6])


def test_one_cell_of_two_classes_is_two_detections() -> None:
    outputs = put(put(blank(), 3, 0, 0.9, channel=0), 3, 1, 0.7, channel=0)
    result = detect(outputs)
    assert result.labels.tolist() == [0, 1]
    assert result.scores.tolist() == pytest.approx([0.9, 0.7])
    assert torch.equal(result.masks[0], result.masks[1])


def test_points_nms_looks_at_its_own_level() -> None:
    """Cells 0 to 3 are the 2x2 level, cell 4 the other: the best of four neighbours stays, and so does cell 4."""
    outputs = blank()
    for cell, score in enumerate([0.9, 0.8, 0.7, 0.6, 0.5]):
        put(outputs, cell, 0, score, channel=cell % 4)
    result = detect(outputs, min_area_factor=0.5)
    # Cell 4 draws what cell 0 does, and is decayed by exp(-2).
    assert result.scores.tolist() == pytest.approx([0.9, 0.5 * math.exp(-2)])


@pytest.mark.parametrize(("kernel", "scores"), [("gaussian", [0.9, 0.6 * math.exp(-2)]), ("linear", [0.9])])
def test_exact_duplicates(kernel: str, scores: list[float]) -> None:
    outputs = put(put(blank(), 0, 0, 0.9, channel=0), 4, 0, 0.6, channel=0)
    result = detect(outputs, min_area_factor=0.5, kernel=kernel)
    assert_contract(result, (16, 16))
    assert result.scores.tolist() == pytest.approx(scores)


@pytest.mark.parametrize(("score", "found"), [(0.5, 0), (0.51, 1)])
def test_score_threshold_is_exclusive(score: float, found: int) -> None:
    assert len(detect(put(blank(), 0, 0, score, channel=0), score_thr=0.5)) == found


@pytest.mark.parametrize(("mask_thr", "found"), [(0.5, 0), (0.4999, 1)])
def test_mask_threshold_is_exclusive(mask_thr: float, found: int) -> None:
    outputs = put(blank(), 0, 0, 0.9, channel=0, strength=0.0)
    assert len(detect(outputs, mask_thr=mask_thr)) == found


def test_pixels_at_the_threshold_do_not_overlap() -> None:
    """Two stripes on a background of exactly one half."""
    outputs = put(put(blank(), 0, 0, 0.9, channel=0), 4, 0, 0.6, channel=1)
    outputs.mask_feats.clamp_(min=0)
    assert detect(outputs, min_area_factor=0.5).scores.tolist() == pytest.approx([0.9, 0.6])


@pytest.mark.parametrize(("filter_thr", "found"), [(0.5, 1), (0.5001, 0)])
def test_filter_threshold_is_inclusive(filter_thr: float, found: int) -> None:
    assert len(detect(put(blank(), 0, 0, 0.5, channel=0), filter_thr=filter_thr)) == found


@pytest.mark.parametrize(
    ("factor", "cell", "found"),
    [
        # A stripe has four pixels; cell 0 has stride 2, cell 4 stride 4.
        (1.0, 0, 1),
        (1.0, 4, 0),
        (0.99, 4, 1),
        (2.0, 0, 0),
        (1.99, 0, 1),
        (0.0, 4, 1),
    ],
)
def test_area_must_exceed_the_stride(factor: float, cell: int, found: int) -> None:
    assert len(detect(put(blank(), cell, 0, 0.9, channel=0), min_area_factor=factor)) == found


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_an_empty_mask_is_never_kept(factor: float) -> None:
    outputs = put(blank(), 0, 0, 0.9, channel=0)
    outputs.mask_feats.fill_(-1)
    assert_contract(detect(outputs, min_area_factor=factor), (16, 16))
    assert len(detect(outputs, min_area_factor=factor)) == 0


@pytest.mark.parametrize(("limit", "kept"), [(1, 1), (2, 2), (3, 3), (100, 3)])
@pytest.mark.parametrize("name", ["nms_pre", "max_per_img"])
def test_limits_keep_the_best(name: str, limit: int, kept: int) -> None:
    outputs = put(put(put(blank(), 0, 0, 0.6, channel=0), 1, 1, 0.9, channel=1), 4, 0, 0.7, channel=2)
    result = detect(outputs, min_area_factor=0.5, **{name: limit})
    assert result.scores.tolist() == pytest.approx([0.9, 0.7, 0.6][:kept])


def test_equal_scores_keep_the_order_of_the_cells() -> None:
    outputs = blank(cells=4, classes=1)
    for cell in range(4):
        put(outputs, cell, 0, 0.5, channel=cell)
    result = detect(outputs, num_grids=(2,), strides=(2,))
    assert result.bboxes[:, 1].tolist() == [0, 4, 8, 12]


def test_padding_and_original_size() -> None:
    """The image is the upper half of the input; the picture is twice as large as the image."""
    outputs = put(put(blank(), 0, 0, 0.9, channel=1), 1, 1, 0.8, channel=3)
    result = detect(outputs, size=(8, 16), original=(16, 32))
    assert_contract(result, (16, 32))
    assert result.bboxes.tolist() == [[0, 8, 32, 16], [0, 0, 0, 0]]


def test_mixed_sizes_in_a_batch() -> None:
    outputs = blank(images=3)
    for image in (0, 2):
        put(outputs, 0, image // 2, 0.9, channel=0, image=image)
    sizes, originals = [(16, 16), (8, 16), (5, 7)], [(33, 20), (1, 1), (4, 100)]
    results = processor_of()(outputs, image_sizes=sizes, original_sizes=originals)
    for result, original in zip(results, originals, strict=True):
        assert_contract(result, original)
    assert [len(result) for result in results] == [1, 0, 1]
    assert [result.labels.tolist() for result in results] == [[0], [], [1]]
    for image, result in enumerate(results):
        alone = processor_of()(
            SOLOv2Outputs(*(field[image : image + 1] for field in outputs)),
            image_sizes=sizes[image : image + 1],
            original_sizes=originals[image : image + 1],
        )[0]
        assert torch.equal(alone.masks, result.masks)
        assert torch.equal(alone.scores, result.scores)


# --------------------------------------------------------------------------------------------------- degenerate input
@pytest.mark.parametrize("original", [(1, 1), (16, 16), (3, 70)])
def test_nothing_found_looks_like_something_found(original: tuple[int, int]) -> None:
    empty, full = detect(blank(), original=original), detect(put(blank(), 0, 0, 0.9, channel=0), original=original)
    assert_contract(empty, original)
    assert (len(empty), len(full)) == (0, 1)
    for name in ("labels", "scores", "masks", "bboxes"):
        assert getattr(empty, name).dtype == getattr(full, name).dtype
        assert getattr(empty, name).shape[1:] == getattr(full, name).shape[1:]
    assert len(empty[empty.scores > 0.5]) == 0, "an empty result can be indexed"


def test_every_cell_of_every_class_is_a_candidate() -> None:
    outputs = blank(cells=20 * 20 + 1, classes=3)
    outputs.cls_logits.fill_(logit(0.9))
    outputs.kernels[..., 0] = 50
    result = detect(outputs, num_grids=(20, 1), strides=(2, 2))
    assert_contract(result, (16, 16))
    assert len(result) == 100
    assert set(result.labels[:3].tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("field", ["cls_logits", "kernels", "mask_feats"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_outputs_that_are_not_finite_at_all(field: str, value: float, kernel: str) -> None:
    outputs = put(put(blank(), 0, 0, 0.9, channel=0), 4, 1, 0.6, channel=1)
    getattr(outputs, field).fill_(value)
    assert_contract(detect(outputs, min_area_factor=0.0, kernel=kernel), (16, 16))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_kernel_that_is_not_finite_harms_no_other_cell(value: float) -> None:
    """Cell 1 overflowed: what cell 4 found of the same class stays as it is."""
    outputs = put(put(blank(), 1, 0, 0.95, channel=0), 4, 0, 0.6, channel=1)
    healthy = detect(put(blank(), 4, 0, 0.6, channel=1), min_area_factor=0.5)
    outputs.kernels[0, 1] = 0
    outputs.kernels[0, 1, 0] = value
    outputs.mask_feats[:, 0, 0] = 0  # 0 * inf is NaN, in a part of the mask
    outputs.mask_feats[:, 0, 2] = 1
    result = detect(outputs, min_area_factor=0.5)
    assert_contract(result, (16, 16))
    mine = (result.masks == healthy.masks[0]).flatten(1).all(dim=1)
    assert mine.sum() == 1
    if value == INF:  # the mask it draws is disjoint, hence no suppression
        assert result.scores[mine].tolist() == pytest.approx(healthy.scores.tolist())


@pytest.mark.parametrize("value", [NAN, -INF])
def test_a_class_logit_that_is_not_finite_harms_no_other_cell(value: float) -> None:
    outputs = put(blank(), 4, 0, 0.6, channel=1)
    expected = detect(outputs, min_area_factor=0.5)
    outputs.cls_logits[0, 1, 0] = value
    outputs.kernels[0, 1, 0] = 50
    result = detect(outputs, min_area_factor=0.5)
    assert result.scores.tolist() == expected.scores.tolist()
    assert len(result) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_half_precision_outputs(dtype: torch.dtype, kernel: str) -> None:
    outputs = put(put(blank(), 0, 0, 0.9, channel=0), 4, 1, 0.6, channel=1)
    expected = detect(outputs, min_area_factor=0.5, kernel=kernel)
    halves = SOLOv2Outputs(*(field.to(dtype) for field in outputs))
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            result = detect(halves, min_area_factor=0.5, kernel=kernel)
        assert_contract(result, (16, 16))
        assert torch.equal(result.masks, expected.masks)
        assert result.scores.tolist() == pytest.approx(expected.scores.tolist(), abs=4e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_rounding_of_half_precision_moves_little(
    dtype: torch.dtype, autocast: bool, generator: torch.Generator
) -> None:
    """Ellipses whose kernels mix several channels: the same labels, scores within 2e-2, mask IoU above 0.98."""
    rows, columns = torch.linspace(0, 1, 48)[:, None], torch.linspace(0, 1, 64)
    places = torch.rand(16, 2, 1, 1, generator=generator)
    distances = ((rows - places[:, 0]) ** 2 + (columns - places[:, 1]) ** 2) / 0.2**2
    outputs = SOLOv2Outputs(
        2 * torch.randn(1, 5, 3, generator=generator),
        torch.randn(1, 5, 16, generator=generator) * 0.2 + 4 * torch.eye(5, 16),
        (1 - distances)[None].clamp(min=-2),
    )
    expected = detect(outputs, score_thr=0.3)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        found = detect(outputs if autocast else SOLOv2Outputs(*(field.to(dtype) for field in outputs)), score_thr=0.3)
    assert len(expected) > 3
    assert torch.equal(found.labels, expected.labels)
    assert (found.scores - expected.scores).abs().max() < 2e-2
    common = (found.masks & expected.masks).sum(dim=(1, 2))
    assert (common / (found.masks | expected.masks).sum(dim=(1, 2))).min() > 0.98


def test_large_masks_under_autocast() -> None:
    """Stripes of 80,000 and 79,200 stride-4 pixels: float16 would overflow, and bfloat16 call them equal."""
    outputs = blank(cells=5, classes=1, channels=2, side=400)
    outputs.mask_feats[:, 1] = outputs.mask_feats[:, 0]
    outputs.mask_feats[:, 1, 198:] = -1
    put(put(outputs, 0, 0, 0.9, channel=0), 4, 0, 0.8, channel=1)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            result = detect(outputs, original=(16, 16), kernel="linear", filter_thr=0.0)
        assert result.scores.tolist() == pytest.approx([0.9, 0.8 * (1 - 0.99)], rel=1e-4)


def test_same_results_when_called_twice(generator: torch.Generator) -> None:
    outputs = SOLOv2Outputs(
        torch.randn(1, 5, 2, generator=generator),
        torch.randn(1, 5, 4, generator=generator),
        torch.randn(1, 4, 6, 6, generator=generator),
    )
    before = [field.clone() for field in outputs]
    one, two = detect(outputs), detect(outputs)
    assert len(one) > 0
    for name in ("labels", "scores", "masks", "bboxes"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert all(torch.equal(field, old) for field, old in zip(outputs, before, strict=True))


def test_results_are_plain_numbers_even_when_training() -> None:
    outputs = SOLOv2Outputs(*(field.requires_grad_() for field in put(blank(), 0, 0, 0.9, channel=0)))
    result = detect(outputs)
    assert not result.scores.requires_grad


def test_number_of_sizes_must_match() -> None:
    with pytest.raises(ValueError):
        processor_of()(blank(images=2), image_sizes=[(16, 16)], original_sizes=[(16, 16)])


def test_unknown_kernel() -> None:
    with pytest.raises(ValueError, match="'gaussian' or 'linear', not 'hard'"):
        MatrixNMS(kernel="hard")  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------- mask format
def test_encoded_masks_are_the_same_masks(generator: torch.Generator) -> None:
    outputs = SOLOv2Outputs(
        torch.randn(2, 5, 2, generator=generator),
        torch.randn(2, 5, 4, generator=generator),
        torch.randn(2, 4, 6, 6, generator=generator),
    )
    sizes = dict(image_sizes=[(24, 23), (20, 24)], original_sizes=[(50, 41), (13, 64)])
    bitmaps = processor_of(min_area_factor=0.0)(outputs, **sizes)
    encodings = processor_of(min_area_factor=0.0, mask_format="rle")(outputs, **sizes)
    bits = processor_of(min_area_factor=0.0, mask_format="bits")(outputs, **sizes)
    for bitmap, encoding, packed in zip(bitmaps, encodings, bits, strict=True):
        assert len(bitmap) == len(encoding) > 0
        assert encoding.masks == encode_bitmaps(bitmap.masks).rles
        assert torch.equal(packed.masks, pack_bits(bitmap.masks))
        for name in ("labels", "scores", "bboxes"):
            assert torch.equal(getattr(bitmap, name), getattr(encoding, name))
            assert torch.equal(getattr(bitmap, name), getattr(packed, name))
        kept = encoding[encoding.scores > encoding.scores.median()]
        assert len(kept.masks) == len(kept.scores) == len(encoding) // 2


def test_nothing_found_in_encoded_form() -> None:
    result = detect(blank(), mask_format="rle")
    assert result.masks == []
    assert result.bboxes.shape == (0, 4)


def test_nothing_found_as_bits() -> None:
    result, bitmaps = detect(blank(), mask_format="bits"), detect(blank())
    height, width = bitmaps.masks.shape[1:]
    assert result.masks.dtype == torch.uint8
    assert result.masks.shape == (0, height, -(-width // 8))
    assert result.bboxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(mask_format="png"), r"'bool', 'bits', 'rle'.*'png'"),
        (dict(chunk_bytes=0), "chunk_bytes must be positive, got 0"),
        (dict(mask_thr=-0.1), "mask_thr must be at least 0"),
    ],
)
def test_wrong_options(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        processor_of(**option)


@pytest.mark.parametrize("cells_held", [1, 2, 5])
def test_chunk_size_changes_nothing(cells_held: int, generator: torch.Generator) -> None:
    outputs = SOLOv2Outputs(
        torch.randn(1, 26, 3, generator=generator),
        torch.randn(1, 26, 4, generator=generator),
        torch.randn(1, 4, 6, 8, generator=generator),
    )
    options = dict(num_grids=(4, 3, 1), strides=(2, 4, 8), nms_pre=9)
    expected, found = detect(outputs, **options), detect(outputs, **options, chunk_bytes=cells_held * 4 * 48)
    assert len(expected) > 3
    assert torch.equal(expected.labels, found.labels)
    torch.testing.assert_close(expected.scores, found.scores, rtol=1e-6, atol=0)
    assert (expected.masks != found.masks).sum() <= 1
