"""Views of a picture merged: hand-made outputs, whose masks are where they were put."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from solo.inference.tta.view_merging import View, merge_views
from solo.masks.rle import decode_masks
from solo.models import Grid, MatrixNMS, SOLOv2PostProcessor
from solo.models.decoders import build_mask_decoder
from solo.structures import SOLOv2Outputs
from tests.helpers.counters import LiveBytes

NUM_CLASSES = 2
GRID = Grid(num_grids=[4, 2], strides=[8, 16], scale_ranges=[(1, 64), (32, 512)])
FLIPS = (None, "horizontal", "vertical", "diagonal")


class Shown(NamedTuple):
    """What a view is made of: (S, C), (S, K) and (E, h, w)."""

    cls_logits: Tensor
    kernels: Tensor
    mask_feats: Tensor
    image_size: tuple[int, int]
    flip_direction: str | None

    def outputs(self) -> SOLOv2Outputs:
        return SOLOv2Outputs(self.cls_logits[None], self.kernels[None], self.mask_feats[None])

    def as_view(self) -> View:
        return View(self.cls_logits, build_mask_decoder(self.outputs()), 0, self.image_size, self.flip_direction)


def processor(**options: Any) -> SOLOv2PostProcessor:
    return SOLOv2PostProcessor(**{"grid": GRID, "nms": MatrixNMS(), "min_area_factor": 0.0, **options})


def logit(probability: float) -> float:
    return float(torch.tensor(probability).logit())


def view(
    *objects: tuple[int, float, tuple[int, int, int, int]],
    image_size: tuple[int, int] = (64, 96),
    flip_direction: str | None = None,
) -> Shown:
    """A view whose cell 2 * i draws object i: label, class score and x1 y1 x2 y2 in stride-4 pixels of the view."""
    height, width = (-(-side // 32) * 8 for side in image_size)
    features = torch.full((len(objects) + 1, height, width), -8.0)
    cls_logits = torch.full((GRID.num_cells, NUM_CLASSES), -9.0)
    kernels = torch.zeros(GRID.num_cells, len(objects) + 1)
    for index, (label, score, (x1, y1, x2, y2)) in enumerate(objects):
        features[index, y1:y2, x1:x2] = 8.0
        cls_logits[2 * index, label] = logit(score)
        kernels[2 * index, index] = 1.0
    return Shown(cls_logits, kernels, features, image_size, flip_direction)


def random_view(generator: torch.Generator, **options: Any) -> Shown:
    made = view((0, 0.5, (0, 0, 1, 1)), **options)
    size = made.mask_feats.shape[-2:]
    noise = torch.nn.functional.interpolate(torch.randn(1, 6, 5, 7, generator=generator), size, mode="bilinear")[0]
    return made._replace(
        cls_logits=2 * torch.randn(GRID.num_cells, NUM_CLASSES, generator=generator),
        kernels=3 * torch.randn(GRID.num_cells, 6, generator=generator),
        mask_feats=noise,
    )


def mirrored(source: Shown, direction: str | None) -> Shown:
    """What a network that knows no left and right would say about the flipped view."""
    axes = {None: (), "horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}[direction]
    return source._replace(mask_feats=source.mask_feats.flip(axes), flip_direction=direction)


def merged(views: list[Shown], *, original_size: tuple[int, int] = (64, 96), **options: Any) -> Any:
    return merge_views([one.as_view() for one in views], postprocess=processor(**options), original_size=original_size)


def bitmaps(result: Any, size: tuple[int, int] = (64, 96)) -> Tensor:
    if isinstance(result.masks, list):
        return torch.from_numpy(decode_masks(result.masks, size=size))
    return result.masks


@pytest.mark.parametrize("mask_format", ["bool", "rle"])
@pytest.mark.parametrize("largest_component", [False, True])
def test_one_view_gives_the_plain_result(
    generator: torch.Generator, mask_format: Literal["bool", "rle"], largest_component: bool
) -> None:
    one = random_view(generator, image_size=(60, 91))
    options: dict[str, Any] = dict(
        mask_format=mask_format, score_thr=0.05, filter_thr=0.01, largest_component=largest_component
    )
    plain = processor(**options)(one.outputs(), image_sizes=[(60, 91)], original_sizes=[(120, 177)])[0]
    result = merged([one], original_size=(120, 177), **options)
    assert len(plain) > 3
    assert torch.equal(result.labels, plain.labels)
    assert torch.equal(result.scores, plain.scores)
    assert torch.equal(result.bboxes, plain.bboxes)
    assert torch.equal(bitmaps(result, (120, 177)), bitmaps(plain, (120, 177)))


@pytest.mark.parametrize("mask_format", ["bool", "rle"])
@pytest.mark.parametrize("direction", FLIPS)
def test_a_flipped_view_alone_is_turned_back(
    generator: torch.Generator, direction: str | None, mask_format: Literal["bool", "rle"]
) -> None:
    one = random_view(generator)
    options: dict[str, Any] = dict(mask_format=mask_format, score_thr=0.05, filter_thr=0.01)
    upright, turned = merged([one], **options), merged([mirrored(one, direction)], **options)
    assert len(upright) > 3
    assert torch.equal(turned.labels, upright.labels)
    # Sums in another order.
    torch.testing.assert_close(turned.scores, upright.scores)
    assert (bitmaps(turned) != bitmaps(upright)).float().mean() < 1e-4
    torch.testing.assert_close(turned.bboxes, upright.bboxes, rtol=0, atol=1)


def test_the_same_object_in_all_views_is_found_once() -> None:
    box = (2, 3, 10, 9)
    first = view((1, 0.8, box))
    others = [mirrored(view((1, score, box)), flip) for score, flip in zip((0.9, 0.7, 0.6), FLIPS[1:], strict=True)]
    result = merged([first, *others])
    decay = torch.exp(torch.tensor(-2.0))  # of exact duplicates, by the gaussian of sigma 2
    assert result.labels.tolist() == [1] * 4
    expected = torch.tensor([0.9, 0.8 * decay, 0.7 * decay, 0.6 * decay]) * torch.tensor(8.0).sigmoid()
    torch.testing.assert_close(result.scores, expected)
    assert result.bboxes.tolist() == [[8, 12, 40, 36]] * 4


def test_objects_of_one_view_only_and_of_other_classes_are_kept_as_they_are() -> None:
    result = merged([view((0, 0.9, (1, 1, 6, 6))), view((1, 0.8, (1, 1, 6, 6)), (0, 0.7, (12, 8, 20, 14)))])
    torch.testing.assert_close(result.scores, torch.tensor([0.9, 0.8, 0.7]) * torch.tensor(8.0).sigmoid())
    assert result.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("scales", [(1, 2), (2, 1), (1, 3)])
@pytest.mark.parametrize("direction", FLIPS)
def test_views_of_another_size_meet_in_the_frame_of_the_first(scales: tuple[int, int], direction: str | None) -> None:
    def enlarged(score: float, scale: int) -> Shown:
        return view((0, score, (4 * scale, 2 * scale, 12 * scale, 10 * scale)), image_size=(64 * scale, 96 * scale))

    result = merged([enlarged(0.9, scales[0]), mirrored(enlarged(0.8, scales[1]), direction)])
    # All but equal masks: the second is decayed by almost exp(-2).
    assert result.scores[1] < 0.8 * 0.2
    masks = bitmaps(result)
    union, common = (masks[0] | masks[1]).sum(), (masks[0] & masks[1]).sum()
    assert common / union > 0.9


def test_padding_is_no_part_of_a_flip() -> None:
    """91 pixels are padded to 96: the flipped view has its padding on the other side of the picture."""
    first = view((0, 0.9, (4, 4, 12, 12)), image_size=(64, 91))
    other = view((0, 0.8, (11, 4, 19, 12)), image_size=(64, 91), flip_direction="horizontal")
    result = merged([first, other], original_size=(64, 91))
    # The second mask spans 44 to 76 of 91 pixels from the right: 15 to 47 from the left, one beside the first's.
    assert result.bboxes.tolist() == [[16, 16, 48, 48], [15, 16, 47, 48]]
    assert result.scores[1] < 0.8 * 0.25


def test_limits_hold_for_all_views_together(generator: torch.Generator) -> None:
    views = [mirrored(random_view(generator), flip) for flip in FLIPS]
    result = merged(views, score_thr=0.01, filter_thr=0.0, max_per_img=7)
    assert len(result) == 7
    assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)
    assert merged(views, score_thr=0.01, filter_thr=0.5).scores.min() >= 0.5


@pytest.mark.parametrize("mask_format", ["bool", "rle"])
def test_nothing_found_has_the_same_types(mask_format: Literal["bool", "rle"]) -> None:
    result = merged([view(), mirrored(view(), "horizontal")], mask_format=mask_format)
    assert (result.labels.dtype, result.scores.dtype) == (torch.int64, torch.float32)
    assert result.bboxes.shape == (0, 4)
    assert result.masks == [] if mask_format == "rle" else result.masks.shape == (0, 64, 96)


def test_formats_agree(generator: torch.Generator) -> None:
    views = [
        random_view(generator),
        random_view(generator, flip_direction="diagonal"),
        random_view(generator, image_size=(96, 130), flip_direction="horizontal"),
    ]
    options: dict[str, Any] = dict(original_size=(150, 203), score_thr=0.05, filter_thr=0.01)
    dense = merged(views, mask_format="bool", **options)
    assert len(dense) > 5
    encoded = merged(views, mask_format="rle", **options)
    assert torch.equal(dense.masks, bitmaps(encoded, (150, 203)))
    assert torch.equal(dense.bboxes, encoded.bboxes)
    assert torch.equal(dense.scores, encoded.scores)


def test_a_large_picture_takes_a_few_masks_at_a_time() -> None:
    """12 masks of 6000 x 4000 would be 288 MB."""
    objects = [(0, 0.9, (3 * index, 0, 3 * index + 3, 16)) for index in range(6)]
    views = [view(*objects), mirrored(view(*objects), "horizontal")]
    options: dict[str, Any] = dict(original_size=(4000, 6000), mask_format="rle", filter_thr=0.0)
    with LiveBytes() as allocated:
        result = merged(views, **options)
    assert len(result) == 12
    assert allocated.peak < 200e6


def test_mistakes_are_named(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="no view"):
        merged([])
    with pytest.raises(ValueError, match=r"flip_direction must be one of .* got 'sideways'"):
        merged([view(flip_direction="sideways")])
