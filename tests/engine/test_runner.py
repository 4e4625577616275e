"""train() and test() on a model that learns in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from mmengine.config import Config

from solo.checkpoints import load_checkpoint
from solo.config.overrides import encode_masks_for_evaluation
from solo.engine.runner import SOLORunner
from solo.engine.testing import test
from solo.engine.training import train
from solo.errors import CheckpointError, ConfigError, DataError
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.paths import CONFIGS

run_test = test
del test  # pytest would collect it


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, SOLORunner]:
    """Config file, work folder and runner of a finished training."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder)
    runner = train(str(config), work_dir=str(folder / "work"))
    return config, folder / "work", runner


def test_training_leaves_checkpoints_scalars_and_curves(trained: tuple[Path, Path, SOLORunner]) -> None:
    _, work_dir, runner = trained
    assert runner.epoch == 3
    assert {path.name for path in work_dir.glob("*.pth")} == {"epoch_1.pth", "epoch_2.pth", "epoch_3.pth"}
    assert cv2.imread(str(work_dir / "curves.png")) is not None
    assert list(work_dir.glob("*/vis_data/events.out.tfevents.*"))
    scalars = next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
    first = json.loads(scalars[0])
    assert {"lr", "loss", "loss_cls", "memory_mb", "iter"} <= set(first)
    assert any("coco/segm_mAP" in line for line in scalars)


def test_class_names_travel_in_the_checkpoint(trained: tuple[Path, Path, SOLORunner]) -> None:
    checkpoint = torch.load(trained[1] / "epoch_3.pth", weights_only=False)
    assert checkpoint["meta"]["dataset_meta"]["classes"] == ("dark", "bright")


def test_the_dataset_receives_every_epoch(trained: tuple[Path, Path, SOLORunner]) -> None:
    assert trained[2].train_dataloader.dataset.epochs == [0, 1, 2]


def test_dumps_go_to_the_log_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    train(str(config), work_dir=str(tmp_path / "work"), overrides={"train_cfg.max_epochs": 1})
    console = capsys.readouterr().out
    log = next((tmp_path / "work").glob("*/*.log")).read_text()
    for dump in ("System environment", "Config:", "Hooks will be executed"):
        assert dump in log
        assert dump not in console
    for shown in ("eta:", "loss_cls:", "lr:", "memory", "Average precision over 4 images"):
        assert shown in console
    assert len(console.splitlines()) < 40


def test_testing_reports_ap_writes_results_and_draws(trained: tuple[Path, Path, SOLORunner], tmp_path: Path) -> None:
    config, work_dir, _ = trained
    metrics = run_test(
        str(config),
        str(work_dir / "epoch_3.pth"),
        work_dir=str(tmp_path / "work"),
        out=str(tmp_path / "results.json"),
        show_dir=str(tmp_path / "visualisations"),
        max_images=3,
        classwise=True,
    )
    assert metrics["coco/segm_mAP"] == pytest.approx(1.0)
    assert metrics["coco/bbox_bright_precision"] == pytest.approx(1.0)
    assert len(json.loads((tmp_path / "results.json").read_text())) == 4
    assert len(list((tmp_path / "visualisations").glob("*.png"))) == 3


@pytest.mark.parametrize("from_latest", [True, False])
def test_resume_continues(tmp_path: Path, from_latest: bool) -> None:
    config = write_config(tmp_path)
    work_dir = tmp_path / "work"
    train(str(config), work_dir=str(work_dir), overrides={"train_cfg.max_epochs": 2})
    resume = "auto" if from_latest else str(work_dir / "epoch_2.pth")
    runner = train(str(config), work_dir=str(work_dir), resume=resume)
    assert runner.train_dataloader.dataset.epochs == [2]
    whole = train(str(config), work_dir=str(tmp_path / "whole"))
    assert torch.equal(runner.model.weight, whole.model.weight)


def test_a_config_in_a_checkpoint_is_not_evaluated_at_resume(
    trained: tuple[Path, Path, SOLORunner], tmp_path: Path
) -> None:
    config, work_dir, _ = trained
    checkpoint = torch.load(work_dir / "epoch_2.pth", weights_only=True)
    text = f"open({str(tmp_path / 'trace')!r}, 'w')\n"
    checkpoint["meta"] |= {"config": text, "cfg": text}
    checkpoint["message_hub"]["runtime_info"]["cfg"] = text
    torch.save(checkpoint, tmp_path / "bad.pth")
    runner = train(str(config), work_dir=str(tmp_path / "work"), resume=str(tmp_path / "bad.pth"))
    assert runner.epoch == 3
    assert not (tmp_path / "trace").exists()


def test_a_path_in_a_checkpoint_does_not_make_the_hook_remove_other_files(
    trained: tuple[Path, Path, SOLORunner], tmp_path: Path
) -> None:
    """CheckpointHook removes the former best checkpoint, whose path it takes from the resumed one."""
    config, work_dir, _ = trained
    checkpoint = torch.load(work_dir / "epoch_1.pth", weights_only=True)
    (tmp_path / "precious").write_text("kept")
    info = {"best_ckpt": str(tmp_path / "precious"), "best_score": -1.0, "last_ckpt": str(tmp_path / "precious")}
    checkpoint["message_hub"]["runtime_info"] |= info
    checkpoint["message_hub"]["resumed_keys"] |= dict.fromkeys(info, True)
    torch.save(checkpoint, tmp_path / "bad.pth")
    best = {"default_hooks.checkpoint.save_best": "coco/segm_mAP", "default_hooks.checkpoint.max_keep_ckpts": 1}
    train(str(config), work_dir=str(tmp_path / "work"), resume=str(tmp_path / "bad.pth"), overrides=best)
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("kind", ["converted", "optimizer", "groups", "moments", "position"])
def test_a_checkpoint_that_cannot_be_resumed_is_one_line(
    trained: tuple[Path, Path, SOLORunner], tmp_path: Path, kind: str
) -> None:
    config, work_dir, _ = trained
    checkpoint = torch.load(work_dir / "epoch_1.pth", weights_only=True)
    if kind == "converted":
        checkpoint = {"state_dict": checkpoint["state_dict"], "meta": {"converted_from": {}}}
    elif kind == "optimizer":
        checkpoint["optimizer"] = {"anything": 3}
    elif kind == "groups":
        checkpoint["optimizer"]["param_groups"] = [{"params": [0, 1, 2]}] * 3
    elif kind == "moments":
        checkpoint["optimizer"]["state"] = {0: {"momentum_buffer": torch.ones(7)}}
    else:
        checkpoint["meta"]["iter"] = 7
    torch.save(checkpoint, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad\.pth .*cannot be resumed") as caught:
        train(str(config), work_dir=str(tmp_path / "work"), resume=str(tmp_path / "bad.pth"))
    assert len(str(caught.value).splitlines()) == 1


def test_histories_of_older_checkpoints_are_resumed(trained: tuple[Path, Path, SOLORunner], tmp_path: Path) -> None:
    """They were pickled with numpy arrays and the functions of their statistics."""
    config, work_dir, _ = trained
    torch.save(load_checkpoint(work_dir / "epoch_2.pth"), tmp_path / "older.pth")
    assert b"HistoryBuffer" in (tmp_path / "older.pth").read_bytes()
    runner = train(str(config), work_dir=str(tmp_path / "work"), resume=str(tmp_path / "older.pth"))
    whole = trained[2].message_hub.get_scalar("train/loss").data[0]
    assert runner.message_hub.get_scalar("train/loss").data[0].tolist() == whole.tolist()


def test_resume_without_a_checkpoint_starts_a_new_training(tmp_path: Path) -> None:
    runner = train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), resume="auto")
    assert runner.train_dataloader.dataset.epochs == [0, 1, 2]


def test_default_work_dir_is_named_after_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = train(str(write_config(tmp_path)), overrides={"train_cfg.max_epochs": 1})
    assert Path(runner.work_dir) == tmp_path / "work_dirs" / "square"


def test_auto_scale_lr_follows_the_batch_size(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    runner = train(str(config), work_dir=str(tmp_path / "work"), auto_scale_lr=True)
    assert runner.optim_wrapper.get_lr()["lr"] == [pytest.approx(0.1 * 2 / 4)]


def test_seed_overrides_the_config(tmp_path: Path) -> None:
    assert train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), seed=7).seed == 7


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_that_no_generator_takes(tmp_path: Path, seed: int) -> None:
    with pytest.raises(ConfigError, match=f"--seed must be .* got {seed}"):
        train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), seed=seed)


def test_a_part_of_a_config_is_not_enough(tmp_path: Path) -> None:
    part = CONFIGS / "_base_" / "models" / "solov2-nano.py"
    with pytest.raises(ConfigError, match=r"solov2-nano\.py has no train_dataloader, train_cfg, optim_wrapper"):
        train(str(part), work_dir=str(tmp_path / "work"))
    with pytest.raises(ConfigError, match=r"has no test_dataloader, test_cfg, test_evaluator"):
        run_test(str(part), "weights.pth", work_dir=str(tmp_path / "work"))


def test_work_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--work-dir: folder .*file cannot be made: "):
        train(str(write_config(tmp_path)), work_dir=str(tmp_path / "file"))


def test_auto_scale_lr_without_a_base_is_an_error(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("auto_scale_lr = dict(enable=False, base_batch_size=4)", ""))
    with pytest.raises(ConfigError, match="base_batch_size"):
        train(str(config), work_dir=str(tmp_path / "work"), auto_scale_lr=True)


def test_amp_with_a_wrapper_of_another_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"optim_wrapper\.type must be OptimWrapper, got 'ApexOptimWrapper'"):
        train(
            str(write_config(tmp_path)),
            work_dir=str(tmp_path / "work"),
            amp=True,
            overrides={"optim_wrapper.type": "ApexOptimWrapper"},
        )


def test_model_settings_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    shapes = CONFIGS / "shapes" / "solov2-nano_shapes.py"
    with pytest.raises(
        ConfigError,
        match=r"config section .*num_groups=7.* cannot be built: .*64 channels cannot be normalised in 7 groups",
    ):
        train(str(shapes), work_dir=str(tmp_path), overrides={"model.head.num_groups": 7})


def test_other_number_of_classes_names_both(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 classes \(dark, bright\).*model has 3.*model\.num_classes=2"):
        train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), overrides={"model.num_classes": 3})


def test_val_classes_in_another_order_are_an_error(tmp_path: Path) -> None:
    overrides: dict[str, Any] = {"val_dataloader.dataset.classes": ("bright", "dark")}
    with pytest.raises((ConfigError, DataError), match=r"bright.*dark"):
        train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), overrides=overrides)


@pytest.mark.parametrize("command", ["train", "test"])
def test_missing_config(tmp_path: Path, command: str) -> None:
    missing = str(tmp_path / "nowhere.py")
    with pytest.raises(ConfigError, match=r"nowhere\.py"):
        train(missing) if command == "train" else run_test(missing, "x.pth")


@pytest.mark.parametrize("option", [dict(resume="nowhere.pth"), dict(overrides={"load_from": "nowhere.pth"})])
def test_missing_checkpoint_in_training(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), **option)


def test_missing_checkpoint_in_testing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        run_test(str(write_config(tmp_path)), str(tmp_path / "nowhere.pth"), work_dir=str(tmp_path / "work"))


def test_checkpoint_of_another_model_is_an_error_in_testing(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "three.pth", num_classes=3, classes=None)
    with pytest.raises(CheckpointError, match=r"three\.pth.*weight.*\(2,\).*\(3,\)|(?s:three\.pth.*weight)"):
        run_test(str(write_config(tmp_path)), str(checkpoint), work_dir=str(tmp_path / "work"))


def test_unreadable_images_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = {"train_dataloader.dataset.unreadable": 2, "train_cfg.max_epochs": 2}
    train(str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), overrides=overrides)
    assert capsys.readouterr().out.count("2 unreadable images were skipped") == 1


def test_results_need_a_metric_that_writes_them(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text() + "\ntest_evaluator = dict(type='DumpResults', out_file_path='x.pkl')\n")
    checkpoint = write_checkpoint(tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="CocoMaskMetric"):
        run_test(str(config), str(checkpoint), work_dir=str(tmp_path / "work"), out="results.json")


@pytest.mark.parametrize(
    ("evaluator", "stated", "expected"),
    [
        ("CocoMaskMetric", None, "rle"),
        ("CocoMaskMetric", "bool", "bool"),
        ("AnotherMetric", None, None),
    ],
)
def test_evaluation_asks_for_encoded_masks(evaluator: str, stated: str | None, expected: str | None) -> None:
    """Unless the config states another form, or a metric may need bitmaps."""
    postprocess = {} if stated is None else dict(mask_format=stated)
    config = Config(dict(model=dict(postprocess=postprocess), test_evaluator=[dict(type=evaluator)]))
    encode_masks_for_evaluation(config)
    assert config.model.postprocess.get("mask_format") == expected


def test_synchronised_norms_of_several_processes_need_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solo.engine.runner.get_world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.SyncBatchNorm(2))
    with pytest.raises(ConfigError, match=r"1 norms such as 1 are SyncBN.*norm_cfg\.type=BN"):
        SOLORunner.wrap_model(SOLORunner.__new__(SOLORunner), None, model)


@pytest.mark.parametrize("option", ["out", "show_dir"])
def test_an_unwritable_output_is_an_error_before_the_test(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    where = dict(out=str(tmp_path / "file" / "results.json"), show_dir=str(tmp_path / "file"))[option]
    with pytest.raises(ConfigError, match=r"--(out|show-dir): folder .*file cannot be made: "):
        run_test(
            str(write_config(tmp_path)),
            str(write_checkpoint(tmp_path / "weights.pth")),
            work_dir=str(tmp_path / "work"),
            **{option: where},
        )


def test_weights_to_start_from_must_fit_somewhere(tmp_path: Path) -> None:
    torch.save({"state_dict": {"mask_head.conv_cls.weight": torch.zeros(3)}}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match=r"(?s)foreign\.pth: not one of its 1 tensors fits.*solo convert"):
        train(
            str(write_config(tmp_path)),
            work_dir=str(tmp_path / "work"),
            overrides={"load_from": str(tmp_path / "foreign.pth")},
        )


def test_names_from_files_are_logged_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    name = "bright\x1b]0;title\x07\u202e"
    annotations = tmp_path / "data" / "annotations.json"
    annotations.write_text(annotations.read_text().replace('"bright"', json.dumps(name)))
    overrides: dict[str, Any] = {"train_cfg.max_epochs": 1, "val_evaluator.classwise": True}
    overrides |= {f"{split}_dataloader.dataset.classes": ("dark", name) for split in ("train", "val", "test")}
    train(str(config), work_dir=str(tmp_path / "work"), overrides=overrides)
    log = next((tmp_path / "work").glob("*/*.log")).read_text()
    for text in (log, capsys.readouterr().out):
        assert "bright" in text
        assert not set(text) & set("\x1b\x07\u202e")
