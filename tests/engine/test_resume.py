"""A resumed training makes the remaining steps of its config, also when batches or schedule have changed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from solo.engine.hooks.curves import read_records
from solo.engine.runner import SOLORunner
from solo.engine.training import train
from solo.errors import CheckpointError, DataError
from tests.helpers.fakes import write_config, write_data

COSINE = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=3),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end=4, T_max=4, convert_to_iter_based=True),
]
STEPS = [dict(type="MultiStepLR", by_epoch=True, begin=0, end=4, milestones=[1, 3], gamma=0.1)]


def run(config: Path, work_dir: Path, *, resume: str | None = None, **overrides: Any) -> SOLORunner:
    values = {key.replace("__", "."): value for key, value in overrides.items()}
    return train(str(config), work_dir=str(work_dir), resume=resume, overrides=values)


def rates(work_dir: Path) -> dict[int, float]:
    return {int(record["iter"]): record["lr"] for record in read_records(work_dir).train}


def resume_with_edited_meta(folder: Path, **meta: int) -> str:
    checkpoint = torch.load(folder / "epoch_1.pth", weights_only=True)
    checkpoint["meta"] |= meta
    torch.save(checkpoint, folder / "edited.pth")
    return str(folder / "edited.pth")


@pytest.mark.parametrize(("batch_size", "length"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_another_batch_size_continues_with_the_next_epoch(tmp_path: Path, batch_size: int, length: int) -> None:
    config, work_dir = write_config(tmp_path, count=8), tmp_path / "work"
    run(config, work_dir, train_cfg__max_epochs=2)
    runner = run(config, work_dir, resume="auto", train_dataloader__batch_size=batch_size)
    assert (runner.epoch, runner.iter) == (3, 3 * length)
    assert runner.train_dataloader.dataset.epochs == [2]
    assert max(rates(work_dir)) == 3 * length
    assert (work_dir / "epoch_3.pth").is_file()


@pytest.mark.parametrize(("batch_size", "steps"), [(1, [13, 14, 15, 16]), (2, [7, 8]), (4, [4]), (8, [2])])
def test_another_batch_size_continues_at_the_same_fraction_of_an_epoch(
    tmp_path: Path, batch_size: int, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounded down: images are repeated rather than left out."""
    config, work_dir = write_config(tmp_path, count=8), tmp_path / "work"
    run(config, work_dir, train_cfg__max_epochs=1)
    middle = resume_with_edited_meta(work_dir, epoch=1, iter=6)
    options: dict[str, Any] = dict(train_cfg__max_epochs=2, train_dataloader__batch_size=batch_size)
    run(config, tmp_path / "resumed", resume=middle, **options)
    assert list(rates(tmp_path / "resumed")) == steps


def test_another_batch_size_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    run(config, work_dir, train_cfg__max_epochs=1)
    run(config, work_dir, resume="auto", train_dataloader__batch_size=1)
    message = "An epoch has 4 steps now and had 2: the training continues after step 4, 0% of epoch 2"
    assert message in capsys.readouterr().out


def test_a_longer_schedule_is_followed(tmp_path: Path) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    run(config, work_dir, train_cfg__max_epochs=4, param_scheduler=COSINE)
    longer: dict[str, Any] = dict(
        train_cfg__max_epochs=8, param_scheduler=[COSINE[0], {**COSINE[1], "end": 8, "T_max": 8}]
    )
    run(config, work_dir, resume="auto", **longer)
    run(config, tmp_path / "whole", **longer)
    resumed, whole = rates(work_dir), rates(tmp_path / "whole")
    assert sorted(resumed) == sorted(whole) == list(range(1, 17))
    assert {step: resumed[step] for step in range(9, 17)} == {step: whole[step] for step in range(9, 17)}
    assert whole[9] > 0.04


@pytest.mark.parametrize("schedule", [COSINE, STEPS])
def test_the_same_schedule_is_continued_to_the_last_bit(tmp_path: Path, schedule: list[Any]) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    run(config, work_dir, train_cfg__max_epochs=2, param_scheduler=schedule)
    resumed = run(config, work_dir, resume="auto", train_cfg__max_epochs=4, param_scheduler=schedule)
    whole = run(config, tmp_path / "whole", train_cfg__max_epochs=4, param_scheduler=schedule)
    assert rates(work_dir) == rates(tmp_path / "whole")
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert resumed.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr()


def test_options_of_the_optimizer_are_the_configs(tmp_path: Path) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    run(config, work_dir, train_cfg__max_epochs=1, optim_wrapper__optimizer__momentum=0.9)
    options: dict[str, Any] = dict(optim_wrapper__optimizer__momentum=0.5, optim_wrapper__optimizer__lr=0.025)
    group = run(config, work_dir, resume="auto", **options).optim_wrapper.param_groups[0]
    assert (group["lr"], group["momentum"]) == (0.025, 0.5)


def test_a_schedule_that_depends_on_metrics_continues_as_saved(tmp_path: Path) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    plateau = [dict(type="ReduceOnPlateauLR", monitor="coco/segm_mAP", rule="greater", patience=0, factor=0.5)]
    run(config, work_dir, train_cfg__max_epochs=3, param_scheduler=plateau)
    run(config, work_dir, resume="auto", train_cfg__max_epochs=4, param_scheduler=plateau)
    run(config, tmp_path / "whole", train_cfg__max_epochs=4, param_scheduler=plateau)
    assert rates(work_dir) == rates(tmp_path / "whole")
    assert [rates(work_dir)[step] for step in (1, 3, 5, 7)] == [0.1, 0.1, 0.05, 0.025]


def test_a_finished_training_says_so_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    trained = run(config, work_dir)
    before = {path: path.stat().st_mtime_ns for path in work_dir.glob("*.pth")}
    capsys.readouterr()
    runner = run(config, work_dir, resume="auto")
    out = capsys.readouterr().out
    assert out.count("The training is finished, nothing to do: 3 of 3 epochs are done") == 1
    assert "Epoch(train)" not in out
    assert {path: path.stat().st_mtime_ns for path in work_dir.glob("*.pth")} == before
    assert torch.equal(runner.model.weight, trained.model.weight)


def test_a_finished_training_by_iterations_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    by_steps: dict[str, Any] = {
        "default_hooks__checkpoint__by_epoch": False,
        "log_processor__by_epoch": False,
    }
    by_epochs = config.read_text()
    loop = 'type="IterBasedTrainLoop", max_iters=4, val_interval=2'
    config.write_text(by_epochs.replace('type="EpochBasedTrainLoop", max_epochs=3, val_interval=1', loop))
    for resume in (None, "auto"):
        run(config, work_dir, resume=resume, **by_steps)
    assert "nothing to do: 4 of 4 iterations are done" in capsys.readouterr().out
    config.write_text(by_epochs)
    with pytest.raises(CheckpointError, match=r"iter_4\.pth cannot be resumed .*of a training by iterations"):
        run(config, work_dir, resume="auto")


def test_a_validation_that_was_interrupted_is_made_up_for(tmp_path: Path) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    run(config, work_dir)
    scalars = next(work_dir.glob("*/vis_data/scalars.json"))
    lines = scalars.read_text().splitlines()
    scalars.write_text("\n".join(lines[:-1]) + "\n")
    assert [record["step"] for record in read_records(work_dir).val] == [1, 2]
    for _ in range(2):
        run(config, work_dir, resume="auto")
        assert [record["step"] for record in read_records(work_dir).val] == [1, 2, 3]


def test_a_validation_of_an_iteration_based_training_is_made_up_for(tmp_path: Path) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    by_steps: dict[str, Any] = {"default_hooks__checkpoint__by_epoch": False, "log_processor__by_epoch": False}
    loop = 'type="IterBasedTrainLoop", max_iters=4, val_interval=2'
    text = config.read_text().replace('type="EpochBasedTrainLoop", max_epochs=3, val_interval=1', loop)
    config.write_text(text.replace('type="CheckpointHook", interval=1', 'type="CheckpointHook", interval=2'))
    run(config, work_dir, **by_steps)
    scalars = next(work_dir.glob("*/vis_data/scalars.json"))
    lines = scalars.read_text().splitlines()
    scalars.write_text("\n".join(lines[:-1]) + "\n")
    assert [record["step"] for record in read_records(work_dir).val] == [2]
    for _ in range(2):
        run(config, work_dir, resume="auto", **by_steps)
        assert [record["step"] for record in read_records(work_dir).val] == [2, 4]


def test_an_image_missing_in_the_validation_set_is_known_before_the_first_step(tmp_path: Path) -> None:
    """And the validation of a training that ended before it is made up for."""
    config, work_dir, data = write_config(tmp_path), tmp_path / "work", tmp_path / "val"
    data.mkdir()
    write_data(data)
    dataset = dict(
        type="CocoInstances",
        ann_file=str(data / "annotations.json"),
        data_prefix=dict(img=str(data)),
        test_mode=True,
        pipeline=[dict(type="LoadImage"), dict(type="PackSample")],
    )
    loader = dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset)
    config.write_text(config.read_text() + f"val_dataloader = {loader}\nval_evaluator = dict(type='CocoMaskMetric')\n")
    content = (data / "3.png").read_bytes()
    (data / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 of its 4 images do not exist: \S+3\.png$"):
        run(config, work_dir)
    assert not list(work_dir.glob("*.pth"))
    (data / "3.png").write_bytes(b"damaged: known only when it is decoded")
    with pytest.raises(DataError, match=r"3\.png cannot be read"):
        run(config, work_dir)
    assert [path.name for path in work_dir.glob("*.pth")] == ["epoch_1.pth"]
    (data / "3.png").write_bytes(content)
    run(config, work_dir, resume="auto")
    assert [record["step"] for record in read_records(work_dir).val] == [1, 2, 3]


def test_training_data_without_a_batch_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no batch: fewer images than batch_size"):
        run(write_config(tmp_path), tmp_path / "work", train_dataloader__batch_size=5, train_dataloader__drop_last=True)


def test_workers_can_be_turned_off_alone(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    text = config.read_text().replace("num_workers=0", "num_workers=1, persistent_workers=True, prefetch_factor=3")
    config.write_text(text)
    none = {"train_dataloader__num_workers": 0, "val_dataloader__num_workers": 0}
    assert run(config, tmp_path / "work", train_cfg__max_epochs=1, **none).iter == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_have_their_handlers_again_after_an_error(tmp_path: Path, number: signal.Signals) -> None:
    """Else a program that hangs after an error could not be ended by SIGTERM."""
    before = signal.getsignal(number)
    hooks = [dict(type="StopSignalsHook"), dict(type="NonFiniteLossHook")]
    with pytest.raises(DataError, match="not finite"):
        run(write_config(tmp_path), tmp_path / "work", model__bad_images=(0,), custom_hooks=hooks)
    assert signal.getsignal(number) == before
