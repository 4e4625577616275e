"""Resuming an evaluation: what is left out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from solo.engine.testing import test
from solo.errors import ConfigError, DataError
from solo.evaluation.record import FRAME, whole_frames
from tests.helpers.fakes import write_checkpoint, write_config

run_test = test
del test  # pytest would collect it


@pytest.fixture
def case(tmp_path: Path) -> tuple[str, str, str]:
    """Config, checkpoint and work folder."""
    config = write_config(tmp_path, count=5)
    return str(config), str(write_checkpoint(tmp_path / "checkpoint.pth")), str(tmp_path / "work")


def test_a_finished_evaluation_is_computed_again_without_its_images(case: tuple[str, str, str], tmp_path: Path) -> None:
    config, checkpoint, work_dir = case
    metrics = run_test(config, checkpoint, work_dir=work_dir, show_dir=str(tmp_path / "visualisations"))
    for image in (tmp_path / "data").glob("*.png"):
        image.write_bytes(b"")
    late = tmp_path / "late.json"
    assert run_test(config, checkpoint, work_dir=work_dir, resume=True, out=str(late)) == metrics
    assert len(json.loads(late.read_text())) == 5


def test_without_resume_everything_is_evaluated_again(case: tuple[str, str, str], tmp_path: Path) -> None:
    config, checkpoint, work_dir = case
    run_test(config, checkpoint, work_dir=work_dir)
    next((tmp_path / "data").glob("*.png")).write_bytes(b"")
    with pytest.raises(DataError):
        run_test(config, checkpoint, work_dir=work_dir)


def test_nothing_to_resume_evaluates_everything(case: tuple[str, str, str]) -> None:
    config, checkpoint, work_dir = case
    assert run_test(config, checkpoint, work_dir=work_dir, resume=True)["coco/segm_mAP"] == pytest.approx(1.0)


def test_a_restarted_process_resumes(
    case: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, checkpoint, work_dir = case
    metrics = run_test(config, checkpoint, work_dir=work_dir)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    next((tmp_path / "data").glob("*.png")).write_bytes(b"")
    assert run_test(config, checkpoint, work_dir=work_dir) == metrics


def test_batches_stay_whole(tmp_path: Path) -> None:
    """An image that is not done is predicted in the batch in which it was, with others that are done."""
    config, checkpoint = write_config(tmp_path, count=5), str(write_checkpoint(tmp_path / "checkpoint.pth"))
    options: dict[str, Any] = dict(work_dir=str(tmp_path / "work"), overrides={"test_dataloader.batch_size": 2})
    metrics = run_test(str(config), checkpoint, **options)
    record = tmp_path / "work" / "detections.rank0"
    record.write_bytes(record.read_bytes()[:-1])  # image 4, the only one of the last batch, is torn
    for number in range(4):
        (tmp_path / "data" / f"{number}.png").write_bytes(b"")
    assert run_test(str(config), checkpoint, resume=True, **options) == metrics
    content = record.read_bytes()
    start = content.index(b"\n") + 1
    payloads, _ = whole_frames(content[start:])
    third = start + sum(len(payload) + FRAME.size for payload in payloads[:3])
    record.write_bytes(content[:third])  # image 3 is missing, in a batch with image 2
    with pytest.raises(DataError, match=r"2\.png"):
        run_test(str(config), checkpoint, resume=True, **options)


@pytest.mark.parametrize("change", ["checkpoint", "annotations", "model.moving=True", "test_dataloader.batch_size=2"])
def test_another_evaluation_is_refused(case: tuple[str, str, str], tmp_path: Path, change: str) -> None:
    config, checkpoint, work_dir = case
    run_test(config, checkpoint, work_dir=work_dir)
    if change == "checkpoint":
        checkpoint = str(write_checkpoint(tmp_path / "other.pth", classes=None))
    if change == "annotations":
        ann_file = tmp_path / "data" / "annotations.json"
        ann_file.write_text(ann_file.read_text().replace('"area": 256', '"area": 257'))
    values = {"model.moving": True, "test_dataloader.batch_size": 2}
    overrides = {key: value for key, value in values.items() if change.startswith(key)}
    with pytest.raises(DataError, match=r"detections\.rank0: cannot resume"):
        run_test(config, checkpoint, work_dir=work_dir, resume=True, overrides=overrides)


def test_the_number_of_workers_may_change(case: tuple[str, str, str]) -> None:
    config, checkpoint, work_dir = case
    metrics = run_test(config, checkpoint, work_dir=work_dir)
    overrides = {"test_dataloader.num_workers": 1}
    assert run_test(config, checkpoint, work_dir=work_dir, resume=True, overrides=overrides) == metrics


@pytest.mark.parametrize("evaluators", [1, 2])
def test_other_metrics_cannot_resume(case: tuple[str, str, str], tmp_path: Path, evaluators: int) -> None:
    config, checkpoint, work_dir = case
    dump = f'dict(type="DumpResults", out_file_path={str(tmp_path / "x.pkl")!r})'
    value = f"[{dump}]" if evaluators == 1 else f"[val_evaluator, {dump}]"
    Path(config).write_text(Path(config).read_text() + f"\ntest_evaluator = {value}\n")
    with pytest.raises(ConfigError, match=r"one CocoMaskMetric alone, got .*DumpResults"):
        run_test(config, checkpoint, work_dir=work_dir, resume=True)


def test_data_without_infos_cannot_be_resumed(case: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    config, checkpoint, work_dir = case
    monkeypatch.delattr("tests.helpers.fakes.SquareImages.get_data_info")
    with pytest.raises(ConfigError, match="SquareImages has none"):
        run_test(config, checkpoint, work_dir=work_dir, resume=True)
