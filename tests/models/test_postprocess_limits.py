"""What post-processing costs: bytes alive at once, and operations that make the CPU wait for the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from solo.models import Grid, MatrixNMS, SOLOv2PostProcessor
from solo.structures import SOLOv2Outputs
from tests.helpers.counters import LiveBytes, OperationCounter

GRID = Grid(num_grids=(40, 36, 24, 16, 12), strides=(8, 8, 16, 32, 32), scale_ranges=[(1, 9)] * 5)
CLASSES, CHANNELS, OBJECTS = 80, 8, 8


def crowd(
    *, candidates: int, height: int, width: int, generator: torch.Generator, classes_of_a_cell: int = 2
) -> SOLOv2Outputs:
    """Outputs with so many candidates whose masks are ellipses of one tenth of the image."""
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    centres = torch.rand(CHANNELS, 2, 1, 1, generator=generator)
    distances = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) / 0.18**2
    cls_logits = torch.full((1, GRID.num_cells, CLASSES), -9.0)
    cells = candidates // classes_of_a_cell
    for label in range(classes_of_a_cell):
        # Rising along each level, so that points NMS keeps all of them.
        cls_logits[0, :cells, 40 * label : 40 * (label + 1)] = -9
        cls_logits[0, torch.arange(cells), 40 * label + torch.arange(cells) % 40] = torch.linspace(-2, 2, cells)
    kernels = torch.zeros(1, GRID.num_cells, CHANNELS)
    kernels[0, torch.arange(GRID.num_cells), torch.arange(GRID.num_cells) % OBJECTS] = 4.0
    return SOLOv2Outputs(cls_logits, kernels, (1 - distances)[None])


def processor(**options: Any) -> SOLOv2PostProcessor:
    return SOLOv2PostProcessor(grid=GRID, nms=MatrixNMS(), **options)


def peak_bytes(
    outputs: SOLOv2Outputs, *, image_size: tuple[int, int], original_size: tuple[int, int], **options: Any
) -> tuple[int, int]:
    """Most bytes alive, and how many objects were found."""
    with LiveBytes() as bytes_alive:
        result = processor(**options)(outputs, image_sizes=[image_size], original_sizes=[original_size])[0]
    return bytes_alive.peak, len(result)


def test_tracker_counts_what_is_alive() -> None:
    with LiveBytes() as bytes_alive:
        for _ in range(5):
            one = torch.zeros(1000)
            two = one + 1
            del one, two
        kept = torch.zeros(500)
    assert bytes_alive.peak == 8000
    assert kept.nbytes == 2000


def documented_bound(*, chunk_bytes: int, pixels: int, nms_pre: int = 500, max_per_img: int = 100) -> float:
    return 1.25 * chunk_bytes + (3 * nms_pre + 9 * max_per_img) * pixels


@pytest.mark.parametrize("chunk_bytes", [pytest.param(2**24, marks=pytest.mark.long), 48 * 2**20])
def test_five_thousand_candidates(chunk_bytes: int, generator: torch.Generator) -> None:
    """At 800x1333; one mask for each candidate would be 1.3 GB, and mmdetection holds it several times."""
    outputs = crowd(candidates=5000, height=200, width=336, generator=generator)
    count = (processor().cell_scores(outputs.cls_logits) > 0.1).sum()
    assert count == 5000
    peak, found = peak_bytes(
        outputs, image_size=(800, 1333), original_size=(80, 133), chunk_bytes=chunk_bytes, mask_format="rle"
    )
    assert found == 100
    scores_of_cells = 20 * outputs.cls_logits.nbytes  # class scores and their maxima, on any image
    assert peak < documented_bound(chunk_bytes=chunk_bytes, pixels=200 * 336) + scores_of_cells
    assert peak < 600e6


def test_full_size_masks_are_made_when_nothing_else_is_held(generator: torch.Generator) -> None:
    """Of 80 decoded masks those of the 10 detections alone are there beside the full-size bitmaps."""
    outputs = crowd(candidates=80, height=100, width=152, generator=generator)
    peak, found = peak_bytes(outputs, image_size=(400, 608), original_size=(800, 1216), max_per_img=10)
    assert found == 10
    decoded, bitmaps = 4 * 80 * 100 * 152, 10 * 800 * 1216
    assert bitmaps < peak < bitmaps + 0.75 * decoded


@pytest.mark.long
def test_a_large_picture(generator: torch.Generator) -> None:
    """A hundred objects in 6000x4000: as bitmaps they would be 2.4 GB."""
    outputs = crowd(candidates=400, height=200, width=304, generator=generator)
    peak, found = peak_bytes(outputs, image_size=(800, 1200), original_size=(4000, 6000), mask_format="rle")
    assert found == 100
    assert peak < 600e6


@pytest.mark.parametrize("mask_format", ["bool", "rle"])
def test_waits_do_not_grow_with_detections(mask_format: str, generator: torch.Generator) -> None:
    """The cells, the candidates, what passes the area filter, and what passes the score: each decides a shape.

    On a CPU every mask's runs are found by themselves; a GPU takes all masks of an image in one go.
    """
    names = []
    for candidates in (40, 400):
        outputs = crowd(candidates=candidates, height=20, width=32, generator=generator)
        with pytest.MonkeyPatch.context() as patch, OperationCounter() as syncs:
            patch.setattr("solo.masks.windows.CPU_CHUNK_PIXELS", 10**6)
            patch.setattr("solo.masks.windows.masks_per_group", lambda pixels, device: 10**6)
            patch.setattr(MatrixNMS, "is_monotone", False)
            result = processor(min_area_factor=0.1, mask_format=mask_format)(
                outputs, image_sizes=[(80, 128)], original_sizes=[(60, 90)]
            )[0]
        assert len(result) > 20
        names.append(syncs.host_syncs)
    assert names[0] == names[1]
    assert len(names[0]) <= (5 if mask_format == "bool" else 9)
