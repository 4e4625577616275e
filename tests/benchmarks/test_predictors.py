"""The assertion that both implementations detect the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmengine.structures import InstanceData

from benchmarks.predictors import check_detections, check_encodings, check_outputs
from solo.masks.encoding import encode_bitmaps
from solo.structures import SOLOv2Outputs


def detections() -> InstanceData:
    masks = torch.zeros(2, 400, 500, dtype=torch.bool)
    masks[0, :200] = True
    return InstanceData(labels=torch.tensor([1, 0]), scores=torch.tensor([0.9, 0.4]), masks=masks)


def flip(count: int) -> Callable[[InstanceData], None]:
    def change(result: InstanceData) -> None:
        result.masks[1, 0, :count] = True

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result.labels.__setitem__(0, 2), "image 0: labels differ"),
        (lambda result: result.scores.__setitem__(0, 0.9001), "image 0: scores differ"),
        (flip(5), "5 of 400000 mask pixels differ"),
    ],
    ids=["labels", "scores", "pixels"],
)
def test_differences(change: Callable[[InstanceData], None], message: str) -> None:
    other = detections()
    change(other)
    with pytest.raises(AssertionError, match=message):
        check_detections([detections()], [other])


def test_differences_by_rounding_are_accepted() -> None:
    other = detections()
    flip(4)(other)
    other.scores += 9e-6
    check_detections([detections()], [other])
    with pytest.raises(AssertionError, match="image 0: 2 detections, mmdet has 1"):
        check_detections([detections()], [other[:1]])


def test_encodings() -> None:
    first, other = detections(), detections()
    flip(4)(other)
    ours, same, nearly = (encode_bitmaps(result.masks).rles for result in (first, first, other))
    check_encodings(ours, [dict(rle, counts=rle["counts"].encode()) for rle in same], exactly=True)
    check_encodings(ours, nearly, exactly=False)
    with pytest.raises(AssertionError, match="RLEs differ"):
        check_encodings(ours, nearly, exactly=True)
    flip(5)(other)
    with pytest.raises(AssertionError, match="5 of 400000 mask pixels differ"):
        check_encodings(ours, encode_bitmaps(other.masks).rles, exactly=False)
    with pytest.raises(AssertionError, match="2 encodings, mmdet has 1"):
        check_encodings(ours, same[:1], exactly=False)
    check_encodings([], [], exactly=False)


def test_outputs() -> None:
    ours = SOLOv2Outputs(torch.ones(1, 4, 2), torch.ones(1, 4, 8), torch.full((1, 8, 2, 2), 10.0))
    check_outputs(ours, ours._replace(mask_feats=ours.mask_feats + 5e-4))
    with pytest.raises(AssertionError, match=r"kernels differs from mmdet's by 1.0e-03 of the largest"):
        check_outputs(ours, ours._replace(kernels=ours.kernels / 0.999))
