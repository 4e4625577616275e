"""Resuming evaluations: their detections are recorded in the work folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import Runner

from solo import __version__
from solo.checkpoints.source import file_sha256
from solo.errors import ConfigError
from solo.evaluation import CocoMaskMetric

CONFIG_KEYS = ("model", "test_dataloader", "test_cfg", "custom_hooks", "tta_model", "tta_pipeline")
WITHOUT_EFFECT = {"num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "timeout"}


def record_evaluation(runner: Runner, *, weights: Sequence[Path], resume: bool) -> None:
    """Let the metric of the coming test, if it is one `CocoMaskMetric` alone, write detections to the work folder.

    With `resume` the recorded detections are kept, and their images left out of the test. Raises ConfigError where that
    is not possible, DataError if the record belongs to another evaluation.
    """
    loader, metrics = runner.test_loop.dataloader, runner.test_loop.evaluator.metrics
    if len(metrics) != 1 or not isinstance(metrics[0], CocoMaskMetric):
        if not resume:
            return
        names = [type(metric).__name__ for metric in metrics]
        raise ConfigError(f"--resume needs test_evaluator to be one CocoMaskMetric alone, got {names}")
    fingerprint = _fingerprint(runner, weights=weights, ann_files=metrics[0].ann_files)
    done = metrics[0].keep_record(Path(runner.work_dir, "detections"), fingerprint=fingerprint, resume=resume)
    if not resume:
        return
    dataset = loader.dataset
    if not hasattr(dataset, "get_data_info"):
        raise ConfigError(f"--resume needs a dataset with get_data_info, {type(dataset).__name__} has none")
    indices = {index for index in range(len(dataset)) if dataset.get_data_info(index)["img_id"] in done}
    print_log(f"{len(indices)} of {len(dataset)} images have their detections from before", logger="current")
    # Batches stay whole, since other padding may change last bits. A loader refuses a new batch sampler: bypass that.
    object.__setattr__(loader, "batch_sampler", [b for b in loader.batch_sampler if not indices.issuperset(b)])


def _fingerprint(runner: Runner, *, weights: Sequence[Path], ann_files: Sequence[str]) -> str:
    """Hash all that detections depend on: version, weights, annotation files and parts of the config."""
    config = {key: runner.cfg.get(key) for key in CONFIG_KEYS}
    config["test_dataloader"] = {k: v for k, v in config["test_dataloader"].items() if k not in WITHOUT_EFFECT}
    config["custom_hooks"] = [hook for hook in config["custom_hooks"] or () if hook["type"] != "VisualizationHook"]
    sums = [file_sha256(str(file)) for file in (*weights, *ann_files)]
    values = json.dumps([__version__, sums, config], default=str)
    return hashlib.sha256(values.encode()).hexdigest()
