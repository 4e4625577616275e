"""Records of interrupted trainings, and their plot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from solo.engine.hooks.curves import CurvesHook, plot_curves, read_records
from tests.helpers.limits import run_limited
from tests.helpers.odd_files import make_endless


def write_run(work_dir: Path, name: str, records: list[dict[str, Any]], *, tail: str = "") -> None:
    folder = work_dir / name / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text("".join(json.dumps(record) + "\n" for record in records) + tail)


def step(iteration: int, epoch: int, loss: float) -> dict[str, Any]:
    return dict(lr=0.1, loss=loss, loss_cls=loss, epoch=epoch, iter=iteration, step=iteration)


def metric(epoch: int, value: float) -> dict[str, Any]:
    return {"coco/segm_mAP": value, "data_time": 0.1, "time": 0.1, "step": epoch}


def test_resumed_run_replaces_what_it_repeats(tmp_path: Path) -> None:
    killed = [step(1, 1, 9.0), step(2, 1, 8.0), metric(1, 0.1), step(3, 2, 7.0), step(4, 2, 6.0)]
    write_run(tmp_path, "20250101_000000", killed, tail='{"lr": 0.1, "lo')
    resumed = [step(3, 2, 7.5), step(4, 2, 6.5), metric(2, 0.2)]
    write_run(tmp_path, "20250101_000100", resumed)
    records = read_records(tmp_path)
    assert [(record["iter"], record["loss"]) for record in records.train] == [(1, 9.0), (2, 8.0), (3, 7.5), (4, 6.5)]
    assert [(record["step"], record["coco/segm_mAP"]) for record in records.val] == [(1, 0.1), (2, 0.2)]


def test_fresh_run_replaces_everything(tmp_path: Path) -> None:
    write_run(tmp_path, "20250101_000000", [step(1, 1, 9.0), metric(1, 0.1), step(2, 2, 8.0), metric(2, 0.2)])
    write_run(tmp_path, "20250102_000000", [step(1, 1, 5.0), metric(1, 0.3)])
    records = read_records(tmp_path)
    assert [record["loss"] for record in records.train] == [5.0]
    assert [record["coco/segm_mAP"] for record in records.val] == [0.3]


def test_larger_batches_keep_the_epochs_before_them(tmp_path: Path) -> None:
    """Two epochs of four steps, then one of two steps."""
    first = [step(iteration, 1 + (iteration - 1) // 4, float(iteration)) for iteration in range(1, 9)]
    write_run(tmp_path, "20250101_000000", [*first, metric(1, 0.1), metric(2, 0.2)])
    write_run(tmp_path, "20250102_000000", [step(5, 3, 9.0), step(6, 3, 10.0), metric(3, 0.3)])
    records = read_records(tmp_path)
    assert [record["loss"] for record in records.train] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert [record["iter"] for record in records.train] == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6]
    assert [record["coco/segm_mAP"] for record in records.val] == [0.1, 0.2, 0.3]


def test_a_repeated_validation_replaces_the_first(tmp_path: Path) -> None:
    write_run(tmp_path, "20250101_000000", [step(1, 1, 9.0), metric(1, 0.1)])
    write_run(tmp_path, "20250102_000000", [metric(1, 0.2), step(2, 2, 8.0), metric(2, 0.3)])
    assert [record["coco/segm_mAP"] for record in read_records(tmp_path).val] == [0.2, 0.3]


def test_a_test_run_is_no_training(tmp_path: Path) -> None:
    write_run(tmp_path, "20250101_000000", [step(1, 1, 9.0)])
    write_run(tmp_path, "20250102_000000", [metric(0, 0.3)])
    assert read_records(tmp_path).val == []


def test_iterations_instead_of_epochs(tmp_path: Path) -> None:
    first = [{key: value for key, value in step(i, 0, 1.0).items() if key != "epoch"} for i in (10, 20, 30)]
    write_run(tmp_path, "20250101_000000", [*first[:2], metric(20, 0.1), first[2], metric(30, 0.5)])
    write_run(tmp_path, "20250102_000000", [first[2], metric(30, 0.2)])
    assert [(record["step"], record["coco/segm_mAP"]) for record in read_records(tmp_path).val] == [
        (20, 0.1),
        (30, 0.2),
    ]


def test_picture_has_a_panel_more_with_metrics(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "20250101_000000", [step(1, 1, 9.0), step(2, 1, 8.0)])
    write_run(tmp_path / "b", "20250101_000000", [step(1, 1, 9.0), step(2, 1, 8.0), metric(1, 0.1)])
    widths = []
    for name in ("a", "b"):
        path = plot_curves(tmp_path / name, tmp_path / "out" / f"{name}.png")
        picture = cv2.imread(str(path))
        assert picture.std() > 5
        widths.append(picture.shape[1])
    assert widths == [1000, 1500]


def test_no_records(tmp_path: Path) -> None:
    assert plot_curves(tmp_path, tmp_path / "curves.png") is None
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "run" / "vis_data").mkdir(parents=True)
    path = make_endless(tmp_path / "run" / "vis_data" / "scalars.json", kind)
    outcome = run_limited(lambda: str(read_records(tmp_path)), seconds=5)
    assert outcome == f"DataError: log file {path} is not a regular file"


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    write_run(
        tmp_path, "20250101_000000", [step(1, 1, 9.0)], tail='5\n["loss"]\n{"loss": 1}\n{"loss": "x", "iter": 2}\n'
    )
    assert len(read_records(tmp_path).train) == 1


def test_a_link_in_place_of_the_picture_is_not_followed(tmp_path: Path) -> None:
    write_run(tmp_path, "20250101_000000", [step(1, 1, 9.0)])
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "curves.png").symlink_to(tmp_path / "kept")
    plot_curves(tmp_path, tmp_path / "curves.png")
    assert (tmp_path / "kept").read_bytes() == b"kept"


def test_a_training_without_matplotlib_ends_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    warnings: list[str] = []
    runner: Any = SimpleNamespace(work_dir=tmp_path, logger=SimpleNamespace(warning=warnings.append))
    CurvesHook().after_train(runner)
    assert len(warnings) == 1 and warnings[0].startswith("no curves are plotted: import of matplotlib.figure")
