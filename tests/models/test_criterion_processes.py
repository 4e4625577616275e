"""Two processes with two images each train as one with all four, where the losses are normalised over the job."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from solo.models import SOLOv2
from tests.helpers.tiny_model import build_tiny, rectangles, training_sample

STEPS = 5
SIZE = (64, 96)
# Objects by image: many, one, none, two. The ranks' counts thus differ.
BOXES = [
    [(4, 4, 30, 30), (40, 8, 80, 50), (10, 34, 36, 60), (60, 40, 90, 62)],
    [(20, 12, 70, 52)],
    [],
    [(2, 2, 20, 24), (50, 30, 94, 60)],
]


def train(model: nn.Module, images: list[int]) -> list[float]:
    """Some steps on these images; the sums of the losses."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(len(BOXES), 3, *SIZE, generator=generator)[images]
    samples = [
        training_sample(rectangles(SIZE, *BOXES[image]), labels=[i % 3 for i in range(len(BOXES[image]))])
        for image in images
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        loss = sum(model(inputs, samples, mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def build(normalize_over: str, mask_loss_norm: str) -> SOLOv2:
    return build_tiny(criterion=dict(normalize_over=normalize_over, mask_loss_norm=mask_loss_norm))


def run_rank(rank: int, port: int, normalize_over: str, mask_loss_norm: str, folder: str) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=2,
        timeout=torch.distributed.default_pg_timeout,
    )
    torch.set_num_threads(1)
    model = build(normalize_over, mask_loss_norm)
    losses = train(DistributedDataParallel(model), [2 * rank, 2 * rank + 1])
    torch.save((losses, model.state_dict()), Path(folder) / f"rank{rank}.pth")
    distributed.destroy_process_group()


def train_in_two_processes(
    folder: Path, normalize_over: str, mask_loss_norm: str
) -> tuple[list[float], dict[str, Tensor]]:
    """Mean losses of the ranks by step, and their common weights."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = (port, normalize_over, mask_loss_norm, str(folder))
    multiprocessing.spawn(run_rank, args=arguments, nprocs=2)
    (one, weights), (other, others) = (torch.load(folder / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    return [(a + b) / 2 for a, b in zip(one, other, strict=True)], weights


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.long
@pytest.mark.parametrize("mask_loss_norm", ["targets", "cells", "nonempty"])
def test_over_the_job_two_processes_equal_one(tmp_path: Path, mask_loss_norm: str) -> None:
    losses, weights = train_in_two_processes(tmp_path, "job", mask_loss_norm)
    single = build("job", mask_loss_norm)
    assert losses == pytest.approx(train(single, [0, 1, 2, 3]), rel=1e-5)
    assert largest_difference(weights, single.state_dict()) <= 1e-5


@pytest.mark.long
def test_over_each_process_they_do_not(tmp_path: Path) -> None:
    """The default, as in the reference implementations: an object among few counts for more than one among many."""
    _, weights = train_in_two_processes(tmp_path, "process", "targets")
    single = build("process", "targets")
    train(single, [0, 1, 2, 3])
    assert largest_difference(weights, single.state_dict()) > 1e-4


def test_unknown_names_are_told() -> None:
    with pytest.raises(ValueError, match="normalize_over must be 'process' or 'job', not 'rank'"):
        build("rank", "targets")
