"""Images per second of a training: the line, and the sum over two processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from solo.config import load_config
from solo.engine.throughput import Throughput, measure_throughput, throughput_line
from tests.helpers.commands import finish, start_script
from tests.helpers.tiny_benchmark import CONFIG


def test_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert throughput_line(21.256, processes=1) == "1 CPU process | 21.26 images/s"
    assert str(Throughput(images_per_second=21.256, processes=2, seconds=[0.1])) == "2 CPU processes | 21.26 images/s"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert throughput_line(21.256, processes=8) == "8 GPUs | 21.26 images/s"


def small_data(folder: Path) -> dict[str, object]:
    data = dict(data_root=str(folder / "shapes"), num_train=2, num_val=1)
    return {f"train_dataloader.dataset.{key}": value for key, value in data.items()} | {
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
    }


def test_one_process(tmp_path: Path) -> None:
    config = load_config(CONFIG, overrides=small_data(tmp_path))
    options = dict(batch_size=2, warmup=0, device="cpu", launcher="none")
    found = measure_throughput(config, steps=3, **options)
    assert len(found.seconds) == 3 and min(found.seconds) > 0
    assert found.images_per_second == pytest.approx(6 / sum(found.seconds))
    assert found.processes == 1


@pytest.mark.long
def test_two_processes(tmp_path: Path) -> None:
    options = ["--synthetic", "--amp", "--iters", "2", "--warmup", "1", "--batch-size", "1", "--json", "rows.json"]
    overrides = ["--cfg-options", "train_dataloader.num_workers=0"]
    # The launcher's name is added by the script.
    arguments = ["benchmark.py", "2", "train", CONFIG, *options, *overrides]
    out, _ = finish(start_script("launch.sh", *arguments, folder=tmp_path))
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    job = rows["images_per_second_train_tiny_solov2"]["ours"]
    assert job == pytest.approx(2 * rows["images_per_second_process"]["ours"])
    lines = re.findall(r"^2 CPU processes \| (\S+) images/s$", out, re.MULTILINE)
    assert lines == [f"{job:.2f}"], "once, not by each process"
    assert "targets" not in rows
