"""Images per second of a training: the line, and the sum over two processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.throughput import throughput_line
from tests.helpers.commands import finish, start_script
from tests.helpers.paths import ROOT
from tests.helpers.tiny_benchmark import CONFIG, command_line_overrides


def test_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert throughput_line(21.256, processes=1) == "1 CPU process | 21.26 images/s"
    assert throughput_line(21.256, processes=2) == "2 CPU processes | 21.26 images/s"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert throughput_line(21.256, processes=8) == "8 GPUs | 21.26 images/s"


def test_measurements_need_the_clone(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    script = shutil.copy(ROOT / "tools/benchmark.py", tmp_path / "tools")
    done = subprocess.run([sys.executable, script, "infer", CONFIG], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: measurements need benchmarks/, which only a clone")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_two_processes(tmp_path: Path) -> None:
    options = ["--synthetic", "--amp", "--iters", "2", "--warmup", "1", "--batch-size", "1", "--json", "rows.json"]
    overrides = ["--cfg-options", "train_dataloader.num_workers=0", *command_line_overrides()]
    # The launcher's name is added by the script.
    arguments = ["benchmark.py", "2", "train", CONFIG, *options, *overrides]
    out, _ = finish(start_script("launch.sh", *arguments, folder=tmp_path))
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    job = rows["images_per_second_train_solov2-nano_shapes"]["ours"]
    assert job == pytest.approx(2 * rows["images_per_second_process"]["ours"])
    lines = re.findall(r"^2 CPU processes \| (\S+) images/s$", out, re.MULTILINE)
    assert lines == [f"{job:.2f}"], "once, not by each process"
    assert "targets" not in rows
