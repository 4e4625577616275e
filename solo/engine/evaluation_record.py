"""Evaluations whose detections wait on disk, so that an interrupted one can go on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import Runner

from solo import __version__
from solo.checkpoints.source import file_sha256
from solo.errors import ConfigError
from solo.evaluation import CocoMaskMetric

STEM = "detections"
CONFIG_KEYS = ("model", "test_dataloader", "test_cfg", "custom_hooks", "tta_model", "tta_pipeline")
"""Parts of a config that detections depend on."""
HOOKS_WITHOUT_EFFECT = {"VisualizationHook"}
LOADER_KEYS = {"num_workers", "persistent_workers", "pin_memory", "prefetch_factor"}
"""What of the loader they do not depend on."""


class PendingBatches:
    """A batch sampler that leaves out what is done, without anything of it being loaded.

    A batch with an image that is not done stays whole: padding to a common size may change last bits of a prediction.

    Args:
        batches: the batch sampler.
        done: the indices of the images that are done.
    """

    def __init__(self, batches: Iterable[list[int]], done: set[int]) -> None:
        self._batches = batches
        self._pending = [batch for batch in batches if not done.issuperset(batch)]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._pending)

    def __len__(self) -> int:
        return len(self._pending)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


def record_evaluation(runner: Runner, *, checkpoint: str, resume: bool) -> None:
    """Let the metric of the coming test write its detections into the work folder.

    Only a `CocoMaskMetric` that is the only metric does so: what others keep would be lost in a crash.

    Args:
        runner: its test is about to run.
        checkpoint: the file with the weights.
        resume: go on with the detections that are there; images that have theirs are left out of the test.

    Raises:
        ConfigError: an evaluation by other metrics, or over data without `get_data_info`, is to be resumed.
        DataError: the detections that are there are of another evaluation.
    """
    loop = runner.test_loop
    metrics = loop.evaluator.metrics
    if len(metrics) != 1 or not isinstance(metrics[0], CocoMaskMetric):
        if resume:
            names = [type(metric).__name__ for metric in metrics]
            raise ConfigError(f"--resume needs test_evaluator to be one CocoMaskMetric alone, got {names}")
        return
    fingerprint = _fingerprint(runner, checkpoint=checkpoint, ann_file=str(metrics[0].ann_file))
    done = metrics[0].keep_record(Path(runner.work_dir, STEM), fingerprint=fingerprint, resume=resume)
    if resume:
        _leave_out(loop.dataloader, done)


def _leave_out(loader: Any, done: set[Any]) -> None:
    """Let a loader skip the images with these ids."""
    dataset = loader.dataset
    if not hasattr(dataset, "get_data_info"):
        raise ConfigError(f"--resume needs a dataset with get_data_info, {type(dataset).__name__} has none")
    indices = {index for index in range(len(dataset)) if dataset.get_data_info(index)["img_id"] in done}
    print_log(f"{len(indices)} of {len(dataset)} images have their detections from before", logger="current")
    # A loader refuses a new batch sampler; this one gives some of the same batches.
    object.__setattr__(loader, "batch_sampler", PendingBatches(loader.batch_sampler, indices))


def _fingerprint(runner: Runner, *, checkpoint: str, ann_file: str) -> dict[str, str]:
    """What the detections depend on, as texts by name."""
    values = {
        "version of solo": __version__,
        "checkpoint": file_sha256(checkpoint),
        "annotation file": file_sha256(ann_file),
    }
    hooks = [hook for hook in runner.cfg.get("custom_hooks") or () if hook["type"] not in HOOKS_WITHOUT_EFFECT]
    for key in CONFIG_KEYS:
        values |= dict(_flat(key, hooks if key == "custom_hooks" else runner.cfg.get(key)))
    return {name: value for name, value in values.items() if name.removeprefix("test_dataloader.") not in LOADER_KEYS}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The plain values in nested ones, each under its dotted name."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(f"{name}.{key}", part)
    elif isinstance(value, (list, tuple)) and any(isinstance(part, (dict, list, tuple)) for part in value):
        for index, part in enumerate(value):
            yield from _flat(f"{name}.{index}", part)
    elif value is not None:
        yield name, repr(tuple(value)) if isinstance(value, (list, tuple)) else repr(value)
