"""An evaluation that is killed and resumed has the detections and AP of an uninterrupted one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from solo.config import load_config
from solo.evaluation.record import whole_frames
from solo.registry import MODELS
from tests.helpers.commands import (
    ap_table,
    child_processes,
    finish,
    read_results,
    run_tool,
    start_script,
    start_tool,
)
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.paths import CONFIGS

IMAGES = 60
CONFIG = """
_base_ = r"{base}"

custom_imports = dict(imports=["tests.helpers.fakes"], allow_failed_imports=False)
data = dict(data_root=r"{data}", num_train=4, num_val={images}, image_size=96)
test_dataloader = dict(batch_size=3, num_workers=1, dataset=data)
model = dict(postprocess=dict(score_thr=0.01, filter_thr=0.001, max_per_img=20))
"""


def detections_on_disk(record: Path) -> int:
    """How many images a record holds."""
    if not record.is_file():
        return 0
    content = record.read_bytes()
    return len(whole_frames(content[content.find(b"\n") + 1 :])[0])


def kill_after(images: int, process: subprocess.Popen[str], *records: Path) -> int:
    """Kill an evaluation with all its processes once the records hold so many images; how many they hold then."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if min(map(detections_on_disk, records)) >= images:
            break
        time.sleep(0.01)
    ranks = child_processes(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for rank in ranks:  # of torchrun, in sessions of their own
        with contextlib.suppress(ProcessLookupError):
            os.kill(rank, signal.SIGKILL)
    process.communicate()
    return sum(map(detections_on_disk, records))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config over drawn images, and a checkpoint whose weights are noise."""
    folder = tmp_path_factory.mktemp("drawn")
    config = folder / "drawn.py"
    base = CONFIGS / "shapes" / "solov2-nano_shapes.py"
    config.write_text(CONFIG.format(base=base, data=folder / "shapes", images=IMAGES))
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(config)).model)
    model.init_weights()
    for parameter in model.head.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / "noise.pth")
    return config, folder / "noise.pth"


def run_test(config: Path, checkpoint: Path, *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    finished = run_tool("test.py", config, checkpoint, "--work-dir", "work", *options, folder=folder)
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.mark.long
@pytest.mark.timeout(300)
def test_killed_and_resumed_equals_uninterrupted(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = drawn
    (tmp_path / "alone").mkdir()
    alone = run_test(config, checkpoint, "--out", "alone.json", folder=tmp_path / "alone")
    process = start_tool("test.py", config, checkpoint, "--work-dir", "work", folder=tmp_path)
    record = tmp_path / "work" / "detections.rank0"
    done = kill_after(20, process, record)
    assert 20 <= done < IMAGES, "it was killed in the middle"
    # What a machine that loses its power may leave behind the last whole image.
    record.write_bytes(record.read_bytes() + b"torn")
    resumed = run_test(config, checkpoint, "--resume", "--out", "resumed.json", folder=tmp_path)
    assert f"{done} of {IMAGES} images have their detections from before" in resumed.stdout
    assert ap_table(resumed.stdout) == ap_table(alone.stdout)
    written = (tmp_path / "resumed.json").read_text()
    assert written == (tmp_path / "alone" / "alone.json").read_text()
    assert len(json.loads(written)) > IMAGES


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_killed_ranks_resume_as_two_or_as_one(tmp_path: Path) -> None:
    config = write_config(tmp_path, count=31)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pth")
    options = ["--work-dir", "work", "--cfg-options", "model.moving=True", "custom_hooks.0.type=SlowHook"]
    alone = run_tool("test.py", config, checkpoint, "--out", "alone.json", *options, folder=tmp_path)
    process = start_script("dist_test.sh", config, checkpoint, "2", *options, folder=tmp_path)
    records = [tmp_path / "work" / f"detections.rank{rank}" for rank in range(2)]
    done = kill_after(4, process, *records)
    assert 8 <= done < 31
    left = [record.read_bytes() for record in records]
    resume = ["--resume", "--out", "two.json", *options]
    out, _ = finish(start_script("dist_test.sh", config, checkpoint, "2", *resume, folder=tmp_path))
    assert f"{done} of 31 images have their detections from before" in out
    assert ap_table(out) == ap_table(alone.stdout)
    assert read_results(tmp_path / "two.json") == read_results(tmp_path / "alone.json")
    for record, content in zip(records, left, strict=True):
        record.write_bytes(content)
    of_first_rank = detections_on_disk(records[0])
    single = run_tool("test.py", config, checkpoint, "--resume", "--out", "one.json", *options, folder=tmp_path)
    assert f"{of_first_rank} of 31 images have their detections from before" in single.stdout, single.stderr
    assert read_results(tmp_path / "one.json") == read_results(tmp_path / "alone.json")
