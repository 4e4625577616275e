"""A stuck worker stops the training with an error that names its file; no process is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset, pseudo_collate
from torch.utils.data import DataLoader

from solo.datasets.seeding import batch_numbered
from solo.engine.data_loader import TIMEOUT_SECONDS, TimedDataLoader, inner_datasets, set_worker_options
from solo.engine.loops import EndlessBatches, NumberedSamples
from solo.errors import DataError
from tests.helpers.coco_files import build, objects
from tests.helpers.commands import group_is_alive
from tests.helpers.paths import ROOT

STUCK = """
import sys
import time
from pathlib import Path
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset, pseudo_collate
from torch.utils.data import DataLoader
import solo
from solo.cli.running import run_command
from solo.datasets.seeding import batch_numbered
from solo.engine.data_loader import TimedDataLoader
from tests.helpers.coco_files import build

class BlockOnThird:
    # Loads as an unreachable network disk does.

    def __call__(self, results):
        if results["img_path"].endswith("3.png"):
            time.sleep(1000)
        return results

def main():
    dataset = build(Path(sys.argv[1]))
    dataset.pipeline.transforms.insert(0, BlockOnThird())
    loader = TimedDataLoader.from_loader(DataLoader(
        dataset, batch_size=1, num_workers=2, timeout=2, collate_fn=pseudo_collate,
        persistent_workers=True,
    ))
    for batch in loader:
        print([Path(sample.img_path).name for sample in batch["data_samples"]], flush=True)

sys.exit(run_command(main))
"""
WAITING = """
import sys
from pathlib import Path
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader
import solo
from solo.engine.data_loader import TimedDataLoader
from tests.helpers.coco_files import build

loader = TimedDataLoader.from_loader(
    DataLoader(build(Path(sys.argv[1])), num_workers=1, collate_fn=pseudo_collate, persistent_workers=True)
)
loader.cycle = loader
print(len(list(loader)), "images", flush=True)
"""


@pytest.mark.long
def test_a_stuck_worker_names_its_image_and_ends(tmp_path: Path) -> None:
    build(tmp_path, objects(6))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, error = process.communicate(timeout=60)
    assert process.returncode == 2, error
    assert "['1.png']" in out and "3.png" not in out
    assert f"returned no batch for 2 s; they are loading {tmp_path / '3.png'} (for " in error
    assert "Traceback" not in error
    assert not group_is_alive(process.pid)


def loader(folder: Path, **options: Any) -> TimedDataLoader:
    return TimedDataLoader.from_loader(
        DataLoader(build(folder, objects(6)), batch_size=2, collate_fn=pseudo_collate, **options)
    )


@pytest.mark.parametrize("persistent", [True, False])
def test_an_iteration_that_is_dropped_ends_its_workers_and_the_next_is_whole(tmp_path: Path, persistent: bool) -> None:
    timed = loader(tmp_path, num_workers=2, persistent_workers=persistent)
    batches = iter(timed)
    next(batches)
    workers = list(timed._iterator._workers) if persistent else []
    batches.close()
    assert not any(worker.is_alive() for worker in workers)
    for _ in range(2):
        assert [sample.img_id for batch in timed for sample in batch["data_samples"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.long
def test_a_program_ends_though_its_workers_are_waiting(tmp_path: Path) -> None:
    """Persistent ones, which nobody has ended: a cycle keeps their loader until the interpreter is gone."""
    build(tmp_path, objects(2))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WAITING, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    assert "2 images\n" in done.stdout


def test_workers_of_a_whole_iteration_persist(tmp_path: Path) -> None:
    timed = loader(tmp_path, num_workers=1, persistent_workers=True)
    list(timed)
    (worker,) = timed._iterator._workers
    list(timed)
    assert timed._iterator._workers == [worker] and worker.is_alive()


def test_no_worker_starts_before_the_first_batch_is_asked_for(tmp_path: Path) -> None:
    """A training by iterations asks when it begins: its seed must be known by then."""
    timed = loader(tmp_path, num_workers=1)
    dataset: Any = timed.dataset
    batches = iter(timed)
    dataset.seed = 5
    flips = [sample.flip for batch in batches for sample in batch["data_samples"]]
    assert flips == [dataset[index]["data_samples"].flip for index in range(6)]


def test_other_errors_of_workers_pass(tmp_path: Path) -> None:
    timed = loader(tmp_path, num_workers=1, timeout=30)
    for index in range(1, 7):
        (tmp_path / f"{index}.png").unlink()
    with pytest.raises(DataError, match=r"no image of .*annotations\.json can be read"):
        list(timed)


def test_a_worker_that_was_killed_is_noticed(tmp_path: Path) -> None:
    timed = loader(tmp_path, num_workers=1, timeout=100)
    batches = iter(timed)
    next(batches)
    # Nobody listens: what tells torch at once otherwise.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(RuntimeError, match="exited unexpectedly"):
            list(batches)
    finally:
        signal.signal(signal.SIGCHLD, before)


class HandingOver:
    """A loader's iterator whose worker was about to hand over a batch."""

    def __init__(self, *, is_alive: bool) -> None:
        worker = SimpleNamespace(pid=7, _parent_pid=os.getpid(), join=lambda timeout: None, is_alive=lambda: is_alive)
        self._workers = [worker]

    def __next__(self) -> None:
        raise EOFError("no more bytes")


@pytest.mark.parametrize(
    ("is_alive", "error", "message"),
    [(False, RuntimeError, r"worker \(pid 7\) exited unexpectedly"), (True, EOFError, "no more bytes")],
)
def test_a_worker_that_was_killed_while_it_handed_over(
    tmp_path: Path, is_alive: bool, error: type[Exception], message: str
) -> None:
    iterator: Any = HandingOver(is_alive=is_alive)
    with pytest.raises(error, match=message):
        next(loader(tmp_path, num_workers=0)._batches(iterator))


def test_sigterm_does_not_end_workers(tmp_path: Path) -> None:
    """Launchers and schedulers send it to all processes; the training must finish its step and save."""
    timed = loader(tmp_path, num_workers=1)
    batches = iter(timed)
    ids = [sample.img_id for sample in next(batches)["data_samples"]]
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGTERM)
    ids += [sample.img_id for batch in batches for sample in batch["data_samples"]]
    assert ids == [1, 2, 3, 4, 5, 6]


def test_options_of_workers_are_those_that_torch_accepts() -> None:
    config = Config(
        dict(
            train_dataloader=dict(num_workers=2),
            val_dataloader=dict(num_workers=0, timeout=5, persistent_workers=True, prefetch_factor=4),
            test_dataloader=dict(num_workers=1, timeout=0),
        )
    )
    set_worker_options(config)
    assert config.train_dataloader.timeout == TIMEOUT_SECONDS
    assert config.val_dataloader == dict(num_workers=0)
    assert config.test_dataloader.timeout == 0


@pytest.mark.parametrize("persistent", [True, False])
def test_workers_end_when_the_batch_sampler_fails(tmp_path: Path, persistent: bool) -> None:
    """They ignore SIGTERM for a minute, so that the program would not end."""
    timed = loader(tmp_path, num_workers=2, persistent_workers=persistent)
    object.__setattr__(timed, "batch_sampler", map(int, ["no number"]))
    with pytest.raises(ValueError, match="no number") as caught:
        next(iter(timed))
    assert not multiprocessing.active_children(), "although the traceback keeps their iterator alive"
    assert caught.tb


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_random_transforms_of_an_iteration_based_training_depend_on_its_batches_alone(
    tmp_path: Path, num_workers: int
) -> None:
    """Two and a half passes, from the first batch and from the middle of one."""
    dataset = build(tmp_path, objects(7))
    drawn = {}
    for skip in (0, 3):
        samples: Any = NumberedSamples(dataset)
        timed = TimedDataLoader.from_loader(
            DataLoader(samples, batch_size=2, num_workers=num_workers, collate_fn=pseudo_collate)
        )
        batches = EndlessBatches(timed.batch_sampler)
        batches.skip = skip
        object.__setattr__(timed, "batch_sampler", batches)
        iterator = iter(timed)
        found = [next(iterator)["data_samples"] for _ in range(10 - skip)]
        iterator.close()
        drawn[skip] = [(sample.img_id, sample.flip) for batch in found for sample in batch]
    assert [image for image, _ in drawn[0]] == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4]
    assert drawn[3] == drawn[0][6:]
    expected = []
    for number, samples in enumerate(found_batches(drawn[0])):
        with batch_numbered(number):
            expected += [(image, dataset[image - 1]["data_samples"].flip) for image, _ in samples]
    assert drawn[0] == expected


def found_batches(drawn: list[tuple[int, bool]]) -> list[list[tuple[int, bool]]]:
    """Cut into batches of two; every fourth, the last of a pass over seven images, has one."""
    sizes = [1 if number % 4 == 3 else 2 for number in range(10)]
    starts = [sum(sizes[:number]) for number in range(10)]
    return [drawn[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def test_wrapped_datasets_are_found() -> None:
    parts = [BaseDataset(lazy_init=True), BaseDataset(lazy_init=True)]
    assert list(inner_datasets(parts[0])) == parts[:1]
    assert list(inner_datasets(ConcatDataset(parts, lazy_init=True))) == parts
    assert list(inner_datasets(RepeatDataset(parts[1], times=2, lazy_init=True))) == parts[1:]
