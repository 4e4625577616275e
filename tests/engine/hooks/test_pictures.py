"""PicturesHook with encoded masks, as an evaluation has them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData

from solo.engine.hooks import PicturesHook
from solo.evaluation import encode_masks
from solo.ops import pack_bits


def test_encoded_masks_are_drawn_like_bitmaps(tmp_path: Path) -> None:
    image = tmp_path / "one.png"
    cv2.imwrite(str(image), np.zeros((30, 40, 3), np.uint8))
    masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, 5:20, 5:30] = masks[1, 20:, :10] = True
    runner = SimpleNamespace(
        test_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=("thing",))))
    )
    pictures = []
    for name, form in (("bitmaps", masks), ("encoded", encode_masks(masks)), ("bits", pack_bits(masks))):
        instances = InstanceData(
            labels=torch.zeros(2, dtype=torch.int64),
            scores=torch.tensor([0.9, 0.2]),
            masks=form,
            bboxes=torch.zeros(2, 4),
        )
        sample = BaseDataElement(metainfo=dict(ori_shape=(30, 40), img_path=str(image)))
        sample.pred_instances = instances
        hook = PicturesHook(show_dir=str(tmp_path / name))
        hook.before_test(runner)
        hook.after_test_iter(runner, 0, outputs=[sample])
        pictures.append(cv2.imread(str(tmp_path / name / "one.png")))
        assert len(sample.pred_instances) == 2, "the sample itself stays as it is"
    np.testing.assert_array_equal(pictures[1], pictures[0])
    np.testing.assert_array_equal(pictures[2], pictures[0])
    assert pictures[0].any()
