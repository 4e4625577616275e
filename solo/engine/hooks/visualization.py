"""Visualisations of the predictions of a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from solo.datasets import LoadImage
from solo.engine.data_loader import image_paths, inner_datasets
from solo.images.pixels import to_bgr
from solo.inference.visualization import (
    PNG_MARK,
    draw_instances,
    legible_magnification,
    write_visualization,
)
from solo.output_files import UniqueStems, check_outputs, inputs_within
from solo.registry import HOOKS


@HOOKS.register_module()
class VisualizationHook(Hook):
    """Draw the predictions onto the test images and write them to a folder, under the names of the images.

    Images of the same name in several folders get a number. Each process of a distributed test draws its own images.

    Args:
        show_dir: folder of the visualisations; created when missing.
        score_thr: instances with a lower score are not drawn.
        max_images: at most so many images are drawn; None for all.
        overwrite: replace files of these names; visualisations of an earlier test are always replaced.
        inputs: files that the test reads beside the images; like all images of the data set, they are never replaced.
    """

    priority = "NORMAL"

    def __init__(
        self,
        *,
        show_dir: str,
        score_thr: float = 0.3,
        max_images: int | None = None,
        overwrite: bool = False,
        inputs: Sequence[str] = (),
    ) -> None:
        self.show_dir = Path(show_dir)
        self.score_thr = score_thr
        self.max_images = max_images
        self.overwrite = overwrite
        self.inputs = inputs
        self._stems = UniqueStems()
        self._written = 0
        self._images_there: set[Path] = set()
        self._load = LoadImage()

    def before_test(self, runner: Runner) -> None:
        """Create the folder, or find the images of the data set in it."""
        self.show_dir.mkdir(parents=True, exist_ok=True)
        self._load = _loader_of(runner.test_dataloader.dataset)
        self._images_there = set(inputs_within(self.show_dir, image_paths(runner.test_dataloader.dataset)))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw the images of a batch.

        Raises:
            OutputError: a visualisation cannot be written, or would overwrite an input or, without `overwrite`,
                another file.
        """
        classes = runner.test_dataloader.dataset.metainfo["classes"]
        for sample in outputs or ():
            if self.max_images is not None and self._written >= self.max_images:
                return
            height, width = sample.ori_shape[:2]
            image = to_bgr(self._load(dict(img_path=sample.img_path, height=height, width=width))["img"])
            magnify = legible_magnification(height, width)
            drawn = draw_instances(image, sample.pred_instances, classes, score_thr=self.score_thr, magnify=magnify)
            path = self.show_dir / f"{self._stems.take(Path(sample.img_path).stem)}.png"
            inputs = [sample.img_path, *self.inputs, *self._images_there.intersection([path])]
            check_outputs([path], overwrite=self.overwrite, inputs=inputs, mark=PNG_MARK)
            write_visualization(path, drawn)
            self._written += 1

    def after_test(self, runner: Runner) -> None:
        """Log where the visualisations are."""
        runner.logger.info(f"Wrote {self._written} visualisations to {self.show_dir}")


def _loader_of(dataset: Any) -> LoadImage:
    """The transform that loads the images of a dataset, which scales those of more than 8 bits."""
    pipelines = (getattr(inner, "pipeline", None) for inner in inner_datasets(dataset))
    steps = (step for pipeline in pipelines for step in getattr(pipeline, "transforms", ()))
    return next((step for step in steps if isinstance(step, LoadImage)), LoadImage())
