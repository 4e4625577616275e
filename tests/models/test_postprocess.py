from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from solo.masks.encoding import encode_bitmaps
from solo.models import MatrixNMS
from solo.structures import SOLOv2Outputs
from tests.helpers.postprocess_oracle import loop_oracle
from tests.helpers.stripes import assert_contract, blank, detect, logit, processor_of, put


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
        for mask, (_, _, stripe) in zip(result.masks, expected, strict=True):
            assert (mask != stripe).sum() <= 3


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
    # Cell 4 has the mask of cell 0, and is decayed by exp(-2).
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
    """The image is the upper half of the input; the original image is twice as large as the image."""
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


# ----------------------------------------------------------------------------------------------------------- as a call
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


@pytest.mark.parametrize("mask_format", ["bool", "rle"])
@pytest.mark.parametrize(("largest_component", "bottom"), [(False, 16), (True, 8)])
def test_specks_are_dropped_if_asked_for(largest_component: bool, bottom: int, mask_format: str) -> None:
    outputs = put(blank(), cell=0, label=1, score=0.8, channel=1)
    outputs.mask_feats[0, 1, 3, 2] = 1  # two rows below the stripe of row 1
    result = detect(outputs, largest_component=largest_component, mask_format=mask_format)
    assert result.bboxes.tolist() == [[0, 4, 16, bottom]]
    assert result.scores.tolist() == pytest.approx([0.8])


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
    for bitmap, encoding in zip(bitmaps, encodings, strict=True):
        assert len(bitmap) == len(encoding) > 0
        assert encoding.masks == encode_bitmaps(bitmap.masks).rles
        for name in ("labels", "scores", "bboxes"):
            assert torch.equal(getattr(bitmap, name), getattr(encoding, name))
        kept = encoding[encoding.scores > encoding.scores.median()]
        assert len(kept.masks) == len(kept.scores) == len(encoding) // 2


def test_nothing_found_in_encoded_form() -> None:
    result = detect(blank(), mask_format="rle")
    assert result.masks == []
    assert result.bboxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(mask_format="png"), r"'bool', 'rle'.*'png'"),
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
