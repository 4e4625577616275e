"""VisualizationHook: both forms of masks, and the names of its files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from solo.engine.hooks import VisualizationHook
from solo.errors import DataError
from solo.masks.encoding import encode_bitmaps

RUNNER: Any = SimpleNamespace(
    test_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=("thing",))))
)


def sample_of(path: Path, masks: Any) -> BaseDataElement:
    """A sample with two detections, one of them below the hook's threshold."""
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    sample = BaseDataElement(metainfo=dict(ori_shape=(30, 40), img_path=str(path)))
    sample.pred_instances = InstanceData(
        labels=torch.zeros(2, dtype=torch.int64),
        scores=torch.tensor([0.9, 0.2]),
        masks=masks,
        bboxes=torch.zeros(2, 4),
    )
    return sample


def two_masks() -> torch.Tensor:
    masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, 5:20, 5:30] = masks[1, 20:, :10] = True
    return masks


def draw(folder: Path, *samples: BaseDataElement, **options: Any) -> None:
    hook = VisualizationHook(show_dir=str(folder), **options)
    hook.before_test(RUNNER)
    hook.after_test_iter(RUNNER, 0, outputs=samples)


def test_encoded_masks_are_drawn_like_bitmaps(tmp_path: Path) -> None:
    masks = two_masks()
    pictures = []
    for name, form in (("bitmaps", masks), ("encoded", encode_bitmaps(masks).rles)):
        sample = sample_of(tmp_path / "one.png", form)
        draw(tmp_path / name, sample)
        pictures.append(cv2.imread(str(tmp_path / name / "one.png")))
        assert sample.pred_instances.masks is form, "the sample itself stays as it is"
    np.testing.assert_array_equal(pictures[1], pictures[0])
    assert pictures[0].any()


def test_images_of_one_name_have_pictures_of_their_own(tmp_path: Path) -> None:
    samples = [sample_of(tmp_path / folder / "1.png", two_masks()) for folder in ("a", "b", "c")]
    draw(tmp_path / "all", *samples)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["1.png", "1_2.png", "1_3.png"]
    draw(tmp_path / "two", *samples, max_images=2)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["1.png", "1_2.png"]


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "out" / "1.png").mkdir(parents=True)
    with pytest.raises(DataError, match=r"visualisation .*1\.png cannot be written"):
        draw(tmp_path / "out", sample_of(tmp_path / "a" / "1.png", two_masks()))
