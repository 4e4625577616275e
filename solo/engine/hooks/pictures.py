"""Predictions drawn while testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from mmengine.hooks import Hook
from mmengine.runner import Runner

from solo.datasets import LoadImage
from solo.errors import DataError
from solo.inference.visualization import draw_instances, legible_magnification, picture_name
from solo.masks.rle import decode_masks
from solo.registry import HOOKS


@HOOKS.register_module()
class PicturesHook(Hook):
    """Draw the predictions of the test images into a folder, under the images' own names.

    Images of the same name in several folders get a number. Each of several processes draws its own images.
    """

    priority = "NORMAL"

    def __init__(self, *, show_dir: str, score_thr: float = 0.3, max_pictures: int | None = None) -> None:
        """Set the folder up.

        Args:
            show_dir: where the pictures go; made when missing.
            score_thr: instances with a lower score are not drawn.
            max_pictures: how many pictures to draw at most; None for all.
        """
        self.show_dir = Path(show_dir)
        self.score_thr = score_thr
        self.max_pictures = max_pictures
        self._names: set[str] = set()
        self._load = LoadImage()

    def before_test(self, runner: Runner) -> None:
        """Make the folder."""
        self.show_dir.mkdir(parents=True, exist_ok=True)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw the images of a batch.

        Raises:
            DataError: a picture cannot be written.
        """
        classes = runner.test_dataloader.dataset.metainfo["classes"]
        for sample in outputs or ():
            if self.max_pictures is not None and len(self._names) >= self.max_pictures:
                return
            height, width = sample.ori_shape[:2]
            image = self._load(dict(img_path=sample.img_path, height=height, width=width))["img"]
            magnify = legible_magnification(height, width)
            instances = sample.pred_instances[sample.pred_instances.scores >= self.score_thr]
            if isinstance(instances.masks, list):
                instances.masks = decode_masks(instances.masks, size=(height, width))
            picture = draw_instances(image, instances, classes, score_thr=self.score_thr, magnify=magnify)
            name = picture_name(Path(sample.img_path), taken=self._names)
            if not cv2.imwrite(str(self.show_dir / name), picture):
                raise DataError(f"picture {self.show_dir / name} cannot be written; is there space for it?")
            self._names.add(name)

    def after_test(self, runner: Runner) -> None:
        """Say where the pictures are."""
        runner.logger.info(f"Drew {len(self._names)} pictures into {self.show_dir}")
