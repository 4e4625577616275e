"""The dataset of a COCO annotation file, or of a split of a YOLO data.yaml."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.coco.annotations import read_annotations
from solo.datasets.coco.image_files import check_images_exist
from solo.datasets.coco.report import AnnotationReport
from solo.datasets.formats.yolo import SPLITS, find_yaml, is_yaml
from solo.datasets.seeding import batch_number, seeded_by
from solo.datasets.transforms.load_image import LoadImage
from solo.errors import DataError, suggestion
from solo.images.reading import UnreadableImageError
from solo.registry import DATASETS, TRANSFORMS

_FILTERS = {"filter_empty_gt": False, "min_size": 0}
_MAX_WORKERS = 256


@DATASETS.register_module()
class CocoInstances(BaseDataset):
    """Instance annotations in COCO's or YOLO's format; each is checked, and random transforms are reproducible.

    A data info holds img_path, img_id, height, width and instances: `ImageInstances`, which are also a sequence of
    `dict(bbox=[x1, y1, x2, y2] in pixels of the image, bbox_label, ignore_flag (1 for a crowd region), mask=polygons or
    RLE)`, as mmdet's transforms expect them.

    Attributes:
        report: What the checks of the annotation file found.
        image_id_prefix: Put before the image ids, where an evaluation of several files must tell them apart.
    """

    report: AnnotationReport
    ann_file: str
    image_id_prefix: str = ""

    def __init__(
        self,
        *,
        ann_file: str,
        data_root: str = "",
        data_prefix: dict[str, str] | None = None,
        classes: Sequence[str] | None = None,
        filter_cfg: dict[str, Any] | None = None,
        pipeline: Sequence[Any] = (),
        test_mode: bool = False,
        max_unreadable: int = 10,
        seed: int = 0,
        split: str | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
    ) -> None:
        """Read and check the annotations.

        Args:
            ann_file: Annotation file, relative to `data_root` unless absolute: COCO's, or a YOLO data.yaml. A missing
                one is replaced by a data.yaml of `data_root`.
            data_root: Folder of the dataset; `~` is the home folder.
            data_prefix: `dict(img=folder of the images)`, relative to `data_root` unless absolute.
            classes: Names of the classes, in the order of their labels; None takes all by category id.
            filter_cfg: `filter_empty_gt` (bool) leaves out training images without an object, `min_size` (pixels)
                those with a shorter side.
            pipeline: Transforms, as configs or callables. One with a method `set_dataset`, as `CopyPaste`, gets
                this dataset, to take more images from.
            test_mode: Keep every image, in the file's order, and objects without a pixel; fail at an unreadable image.
            max_unreadable: Training skips this many different unreadable images; one more ends the run.
            seed: Seed of the random transforms.
            split: Of a data.yaml: "train", "val" or "test"; None takes the one that `ann_file` has in its name, else
                "val" in test mode and "train" otherwise.
            indices: Use the first (or, negative, last) so many images, or exactly these.
            serialize_data: Keep the annotations as one block of bytes, which workers share.

        Raises:
            DataError: The annotation file or an option cannot be used, or images are missing: one in test mode, more
                than `max_unreadable` in training; the message names file, key or id, and all missing images.
        """
        self.classes, self.max_unreadable, self.seed, self.split = classes, max_unreadable, seed, split
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._in_progress = _ImagesInProgress()
        if not isinstance(ann_file, (str, os.PathLike)):
            raise DataError(
                f"ann_file must be one file, got {ann_file!r}: several are joined by dict(type='ConcatDataset', "
                "datasets=[...]) of one dataset each, in testing too"
            )
        if max_unreadable < 0:
            raise DataError(f"max_unreadable must be at least 0, not {max_unreadable}")
        for name in filter_cfg or {}:
            if name not in _FILTERS:
                raise DataError(f"filter_cfg has no {name!r}{suggestion(name, _FILTERS)}; it knows {sorted(_FILTERS)}")
        for name in data_prefix or {}:
            if name != "img":
                raise DataError(f"data_prefix has no {name!r}; expected dict(img=folder of the images)")
        super().__init__(
            ann_file=os.path.expanduser(ann_file),
            data_root=os.path.expanduser(data_root),
            data_prefix={"img": os.path.expanduser((data_prefix or {}).get("img", ""))},
            filter_cfg=filter_cfg,
            # Built here, so that our transforms are found whatever the default scope is.
            pipeline=[TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline],
            test_mode=test_mode,
            indices=indices,
            serialize_data=serialize_data,
        )
        for step in self.pipeline.transforms:
            if hasattr(step, "set_dataset"):
                step.set_dataset(self)

    def full_init(self) -> None:
        """Read, check, filter, and report once."""
        if self._fully_initialized:
            return
        super().full_init()
        # A flag for each image, in memory that workers share; several may set the same one, so no lock is needed.
        self._unreadable = torch.zeros(len(self), dtype=torch.bool).share_memory_()
        self.report.log()

    def load_data_list(self) -> list[dict[str, Any]]:
        """The data info of every image of the annotation file, in its order."""
        split = self._find_split()
        checked = read_annotations(self.ann_file, classes=self.classes, for_evaluation=self.test_mode, split=split)
        self.report = checked.report
        self._metainfo.update(classes=checked.classes, category_ids=checked.category_ids)
        folder = self.data_prefix["img"]
        file_names = [image["file_name"] for image in checked.images]
        paths = [os.path.join(folder, file_name) for file_name in file_names]
        # Another step may read them from an archive or over the network.
        if any(isinstance(step, LoadImage) for step in self.pipeline.transforms):
            limit = 0 if self.test_mode else self.max_unreadable
            missing = check_images_exist(paths, file_names, ann_file=self.ann_file, folder=folder, max_missing=limit)
            if missing:
                self.report.remarks.append(f"{len(missing)} images are missing and are skipped: {', '.join(missing)}")
        return [
            dict(
                img_path=path,
                img_id=image.image_id,
                height=image.height,
                width=image.width,
                seg_map_path=None,
                instances=image.instances,
                # Only an evaluation compares with the file's boxes and areas.
                **({"boxes_and_areas": image.boxes_and_areas} if self.test_mode else {}),
            )
            for path, image in zip(paths, checked.annotated_images(), strict=True)
        ]

    def _find_split(self) -> str | None:
        """Find the split of a data.yaml, which takes the place of a missing annotation file; None for a COCO file."""
        named = Path(self.ann_file)
        if not named.is_file() and not is_yaml(named):
            found = find_yaml(Path(self.data_root)) if self.data_root else None
            self.ann_file = self.ann_file if found is None else str(found)
        if not is_yaml(Path(self.ann_file)):
            if self.split is not None:
                raise DataError(f"split={self.split!r} is of a YOLO data.yaml, but ann_file is {self.ann_file}")
            return None
        stated = next((split for split in SPLITS if split in named.stem), "val" if self.test_mode else "train")
        return self.split or stated

    def filter_data(self) -> list[dict[str, Any]]:
        """The images to use; in test mode all of them.

        Raises:
            DataError: Nothing is left to train on.
        """
        if not self.data_list:
            raise DataError(f"annotation file {self.ann_file} has no images")
        if self.test_mode:
            return self.data_list
        options = {**_FILTERS, **(self.filter_cfg or {})}
        large = [info for info in self.data_list if min(info["height"], info["width"]) >= options["min_size"]]
        kept = [info for info in large if not (options["filter_empty_gt"] and all(info["instances"].ignore_flags))]
        self.report.images_filtered = len(self.data_list) - len(kept)
        if not self.report.used or not kept:
            raise DataError(f"there is no usable object to train on in\n{self.report}")
        return kept

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The data info of an image; a worker asks for it when it begins to load the image."""
        self._in_progress.record(idx)
        info = self._stored_info(idx)
        info.pop("boxes_and_areas", None)
        return info

    def _stored_info(self, idx: int) -> dict[str, Any]:
        info: dict[str, Any] = super().get_data_info(idx)
        return {**info, "img_id": f"{self.image_id_prefix}{info['img_id']}"} if self.image_id_prefix else info

    def annotated_images(self) -> Iterator[AnnotatedImage]:
        """The images with their usable annotations, as an evaluation compares with them; in test mode alone."""
        for index in range(len(self)):
            info = self._stored_info(index)
            yield AnnotatedImage(*(info[k] for k in ("img_id", "height", "width", "instances", "boxes_and_areas")))

    @property
    def images_in_progress(self) -> list[tuple[str, float]]:
        """(path, seconds so far) of the image that each worker is loading, the slowest first."""
        return [
            (self.get_data_info(index)["img_path"], seconds) for index, seconds in self._in_progress.slowest_first()
        ]

    def forget_images_in_progress(self) -> None:
        """Clear the entries of workers that have exited."""
        self._in_progress.clear()

    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels of the objects of an image, for mmengine's `ClassBalancedDataset`."""
        return list(self.get_data_info(idx)["instances"].labels)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that begins; running workers see it too."""
        self._epoch.fill_(epoch)

    @property
    def unreadable(self) -> int:
        """Number of different images that could not be read so far, in all workers."""
        return int(self._unreadable.sum())

    @property
    def unreadable_images(self) -> list[str]:
        """The paths of those images."""
        return [self.get_data_info(index)["img_path"] for index in self._unreadable.nonzero().flatten().tolist()]

    def __getitem__(self, idx: int) -> Any:
        """The sample at `idx`; while training, another one when its image cannot be read.

        Raises:
            UnreadableImageError: In test mode, the image cannot be read.
            DataError: While training, more than `max_unreadable` images cannot be read.
        """
        idx = idx % len(self) if -len(self) <= idx < 0 else idx
        number = batch_number()
        try:
            if self.test_mode:
                return super().__getitem__(idx)
            with seeded_by(self.seed, int(self._epoch) if number is None else number, idx):
                return self._usable_sample(idx)
        finally:
            self._in_progress.record(-1)

    def _usable_sample(self, idx: int) -> Any:
        """The sample of `idx`, or of random images until one is usable."""
        for _ in range(self.max_refetch + 1):
            try:
                sample = None if self._unreadable[idx] else self.prepare_data(idx)
            except UnreadableImageError as error:
                self._skip(idx, error)
                sample = None
            if sample is not None:
                return sample
            idx = self._rand_another()
        raise DataError(
            f"{self.ann_file}: the pipeline gave no sample in {self.max_refetch} tries "
            f"({self.unreadable} images are unreadable)"
        )

    def _skip(self, idx: int, error: UnreadableImageError) -> None:
        """Count and log an unreadable image; too many of them are an error."""
        if not self._unreadable[idx]:
            self._unreadable[idx] = True
            print_log(f"Skipped: {error}", logger="current", level=logging.WARNING)
        if self.unreadable > self.max_unreadable:
            raise DataError(
                f"{self.unreadable} images cannot be read, more than max_unreadable={self.max_unreadable}: "
                + ", ".join(self.unreadable_images)
            ) from error
        if self.unreadable == len(self):
            raise DataError(f"no image of {Path(self.ann_file)} can be read") from error


class _ImagesInProgress:
    """The image that each worker is loading and since when, in shared memory, for a worker that hangs cannot report it.

    One slot a worker, which it alone writes, so no lock is needed. Images of the main process are not recorded.
    """

    def __init__(self) -> None:
        self._index = torch.full((_MAX_WORKERS,), -1).share_memory_()  # -1: no image
        self._since = torch.zeros(_MAX_WORKERS, dtype=torch.float64).share_memory_()  # seconds

    def record(self, index: int) -> None:
        """Record the image that this worker begins to load, or -1 when it has loaded it."""
        worker = get_worker_info()
        if worker is not None and worker.id < _MAX_WORKERS:
            self._since[worker.id] = time.monotonic()
            self._index[worker.id] = index

    def clear(self) -> None:
        self._index.fill_(-1)

    def slowest_first(self) -> list[tuple[int, float]]:
        """(index, seconds so far) of each image that a worker is loading."""
        now = time.monotonic()
        busy = (self._index >= 0).nonzero().flatten().tolist()
        found = [(int(self._index[worker]), now - float(self._since[worker])) for worker in busy]
        return sorted(found, key=lambda entry: -entry[1])
