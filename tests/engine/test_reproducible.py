"""Trainings with one seed are equal to the last bit, whatever the number of workers, resumed or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from torch import Tensor

from solo.engine.hooks.curves import read_records
from solo.engine.training import train
from tests.helpers.paths import CONFIGS

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

CONFIG = """
_base_ = r"{base}"

data = dict(data_root=r"{data}", num_train=10, num_val=2, image_size=64)
train_dataloader = dict(batch_size=4, dataset=data)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data)
test_dataloader = val_dataloader
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
"""
BY_EPOCH = """
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_epochs=2, val_interval=9)
param_scheduler = [dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6)]
"""
# Two and a half batches a pass, of which the last is whole only where passes join: with an InfiniteSampler.
BY_ITERATION = """
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=7, val_interval=99)
param_scheduler = [dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6)]
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1, save_best=None)
)
log_processor = dict(by_epoch=False)
"""


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `deterministic` sets for the whole process is as before."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def write_config(folder: Path, more: str) -> Path:
    path = folder / "tiny_shapes.py"
    base = CONFIGS / "shapes" / "solov2-nano_shapes.py"
    path.write_text(CONFIG.format(base=base, data=folder / "shapes") + more)
    return path


def run(config: Path, name: str, *, num_workers: int, sampler: str = "DefaultSampler", **options: Any) -> Path:
    work_dir = config.parent / name
    overrides = {
        "train_dataloader.num_workers": num_workers,
        "train_dataloader.persistent_workers": num_workers > 0,
        "train_dataloader.sampler.type": sampler,
    }
    train(str(config), work_dir=str(work_dir), overrides=overrides, **options)
    return work_dir


def losses(work_dir: Path) -> list[tuple[float, float]]:
    return [(record["loss_cls"], record["loss_mask"]) for record in read_records(work_dir).train]


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.long
def test_two_runs_are_equal_whatever_the_number_of_workers(tmp_path: Path) -> None:
    config = write_config(tmp_path, BY_EPOCH)
    alone = run(config, "alone", num_workers=0, seed=5, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    three = run(config, "three", num_workers=3, seed=5, deterministic=True)
    other = run(config, "other", num_workers=1, seed=6)
    assert losses(alone) == losses(three) != losses(other)
    assert are_equal(weights(alone / "epoch_2.pth"), weights(three / "epoch_2.pth"))


@pytest.mark.long
@pytest.mark.parametrize(("sampler", "stopped_at"), [("DefaultSampler", 3), ("InfiniteSampler", 2)])
def test_resumed_by_iterations_equals_uninterrupted(tmp_path: Path, sampler: str, stopped_at: int) -> None:
    """At the border of two passes, and one batch before the one that two passes share."""
    config = write_config(tmp_path, BY_ITERATION)
    whole = run(config, "whole", num_workers=2, sampler=sampler)
    resumed = run(config, "resumed", num_workers=1, sampler=sampler, resume=whole / f"iter_{stopped_at}.pth")
    assert losses(resumed) == losses(whole)[stopped_at:]
    assert len(losses(whole)) == 7
    assert are_equal(weights(resumed / "iter_7.pth"), weights(whole / "iter_7.pth"))


@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_processes_share_the_images_evenly(monkeypatch: pytest.MonkeyPatch, sampler: str, processes: int) -> None:
    """Each image is someone's, and nobody has two more than another."""
    assert get_dist_info() == (0, 1)
    count = 101
    shares = []
    for rank in range(processes):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, processes))
        built = DATA_SAMPLERS.build(dict(type=sampler, dataset=range(count), seed=3, shuffle=True))
        indices = iter(built)
        shares.append([next(indices) for _ in range(-(-count // processes))])
    assert set().union(*shares) == set(range(count))
    together = [index for row in zip(*shares, strict=True) for index in row]
    assert len(set(together[:count])) == count
