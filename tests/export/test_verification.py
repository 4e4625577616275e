"""How far an exported file may be from its model."""

from __future__ import annotations

import math

import pytest

from solo.errors import ExportError
from solo.export.verification import Differences, check
from tests.helpers.model_metadata import model_metadata

RAW = model_metadata(contract="raw", mask_channels=8, kernel_size=1)


def raw_outputs(error: float, *, largest: float) -> Differences:
    return Differences(
        outputs={"kernels": error}, relative_errors={"kernels": 0.0}, largest_values={"kernels": largest}
    )


@pytest.mark.parametrize(("error", "largest"), [(0.9e-4, 0.1), (0.9e-4, 10.0), (0.9e-3, 100.0)])
def test_raw_outputs_may_differ_by_rounding(error: float, largest: float) -> None:
    check(raw_outputs(error, largest=largest), metadata=RAW)


@pytest.mark.parametrize(("error", "largest"), [(1.1e-4, 0.1), (1.1e-4, 10.0), (1.1e-3, 100.0), (math.nan, 1.0)])
def test_raw_outputs_that_differ_by_more(error: float, largest: float) -> None:
    with pytest.raises(ExportError, match=f"kernels differs by {error:.2g}, at most "):
        check(raw_outputs(error, largest=largest), metadata=RAW)


@pytest.mark.parametrize("unmatched", [2, 3])
def test_two_percent_of_the_detections_may_have_another_score(unmatched: int) -> None:
    found = Differences(detections=100, unmatched_detections=unmatched)
    if unmatched == 2:
        check(found, metadata=model_metadata())
        return
    with pytest.raises(ExportError, match="3 of 100 detections have no equal with its label and score"):
        check(found, metadata=model_metadata())


def test_a_pixel_away_from_the_threshold_is_a_difference() -> None:
    with pytest.raises(ExportError, match="masks differ in 1 pixels"):
        check(Differences(detections=1, pixels_beyond_rounding=1), metadata=model_metadata())
