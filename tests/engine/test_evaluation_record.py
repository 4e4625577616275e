"""Going on with an evaluation: what is left out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solo.engine.evaluation_record import PendingBatches
from solo.engine.runner import test
from solo.errors import ConfigError, DataError
from tests.helpers.fakes import write_checkpoint, write_config

run_test = test
del test  # pytest would collect it


@pytest.fixture
def case(tmp_path: Path) -> tuple[str, str, str]:
    """Config, checkpoint and work folder."""
    config = write_config(tmp_path, count=5)
    return str(config), str(write_checkpoint(tmp_path / "checkpoint.pth")), str(tmp_path / "work")


@pytest.mark.parametrize(
    ("done", "left"), [(set(), [[0, 1], [2, 3], [4]]), ({0, 3, 4}, [[0, 1], [2, 3]]), (set(range(5)), [])]
)
def test_batches_stay_whole(done: set[int], left: list[list[int]]) -> None:
    pending = PendingBatches([[0, 1], [2, 3], [4]], done)
    assert list(pending) == left
    assert list(pending) == left, "it can be iterated again"
    assert len(pending) == len(left)
    assert pending.count([4]) == 1, "other attributes are those of the sampler"


def test_a_finished_evaluation_is_computed_again_without_its_images(case: tuple[str, str, str], tmp_path: Path) -> None:
    config, checkpoint, work_dir = case
    metrics = run_test(config, checkpoint, work_dir=work_dir, show_dir=str(tmp_path / "pictures"))
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


def test_nothing_to_go_on_with_evaluates_everything(case: tuple[str, str, str]) -> None:
    config, checkpoint, work_dir = case
    assert run_test(config, checkpoint, work_dir=work_dir, resume=True)["coco/segm_mAP"] == pytest.approx(1.0)


def test_a_restarted_process_goes_on(
    case: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, checkpoint, work_dir = case
    metrics = run_test(config, checkpoint, work_dir=work_dir)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    next((tmp_path / "data").glob("*.png")).write_bytes(b"")
    assert run_test(config, checkpoint, work_dir=work_dir) == metrics


def test_another_evaluation_is_refused(case: tuple[str, str, str], tmp_path: Path) -> None:
    config, checkpoint, work_dir = case
    run_test(config, checkpoint, work_dir=work_dir)
    other = write_checkpoint(tmp_path / "other.pth", classes=None)
    ann_file = tmp_path / "data" / "annotations.json"
    ann_file.write_text(ann_file.read_text().replace('"area": 256', '"area": 257'))
    changes = {"model.moving": True, "test_dataloader.num_workers": 1, "test_dataloader.batch_size": 2}
    with pytest.raises(DataError) as error:
        run_test(config, str(other), work_dir=work_dir, resume=True, overrides=changes)
    for part in (
        "detections.rank0: cannot go on with it",
        "checkpoint was",
        "annotation file was",
        "model.moving was absent, is True",
        "test_dataloader.batch_size was 1, is 2",
    ):
        assert part in str(error.value)
    assert "num_workers" not in str(error.value)


@pytest.mark.parametrize("evaluators", [1, 2])
def test_other_metrics_cannot_go_on(case: tuple[str, str, str], tmp_path: Path, evaluators: int) -> None:
    config, checkpoint, work_dir = case
    dump = f'dict(type="DumpResults", out_file_path={str(tmp_path / "x.pkl")!r})'
    value = f"[{dump}]" if evaluators == 1 else f"[val_evaluator, {dump}]"
    Path(config).write_text(Path(config).read_text() + f"\ntest_evaluator = {value}\n")
    with pytest.raises(ConfigError, match=r"one CocoMaskMetric alone, got .*DumpResults"):
        run_test(config, checkpoint, work_dir=work_dir, resume=True)


def test_data_without_infos_cannot_go_on(case: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    config, checkpoint, work_dir = case
    monkeypatch.delattr("tests.helpers.fakes.SquareImages.get_data_info")
    with pytest.raises(ConfigError, match="SquareImages has none"):
        run_test(config, checkpoint, work_dir=work_dir, resume=True)
