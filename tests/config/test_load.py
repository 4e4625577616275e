"""load_config: what it accepts, and the error that each mistake raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from solo.config.load import config_files, load_config
from solo.errors import ConfigError
from tests.helpers.limits import run_limited
from tests.helpers.odd_files import make_endless
from tests.helpers.paths import CONFIGS

SMALL = """
default_scope = "solo"
base_lr = 0.01  # a variable of the config
model = dict(
    type="mmdet.ResNet",
    depth=18,
    norm_cfg=dict(type="BN", requires_grad=True),
    init_cfg=dict(type="Pretrained", checkpoint="imagenet://resnet18-f37072fd.pth"),
)
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=True))
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=base_lr), clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=5),
    dict(type="MultiStepLR", milestones=[1], by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=1)
default_hooks = dict(logger=dict(type="LoggerHook", interval=1, priority="LOW"))
custom_hooks = [dict(type="EMAHook", momentum=0.1)]
train_pipeline = [dict(type="RandomChoiceResize", scales=[(8, 8)], resize_type="mmdet.Resize", keep_ratio=True)]
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


def test_small_config_loads_and_leaves_no_default_scope(small: Path) -> None:
    before = DefaultScope.get_current_instance()
    config = load_config(small)
    assert isinstance(config, Config)
    assert config.model.depth == 18
    assert DefaultScope.get_current_instance() is before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("depth=18", "dept=18", ["'model.dept'", "did you mean 'depth'", "mmdet.ResNet accepts", "out_indices"]),
        ('checkpoint="', 'checkpont="', ["'model.init_cfg.checkpont'", "did you mean 'checkpoint'"]),
        ("mmdet.ResNet", "mmdet.ResNett", ["model.type", "'mmdet.ResNett'", "did you mean 'ResNet"]),
        ("batch_size=2", "batch_sise=2", ["'train_dataloader.batch_sise'", "did you mean 'batch_size'"]),
        ("shuffle=True", "shufle=True", ["'train_dataloader.sampler.shufle'", "did you mean 'shuffle'"]),
        ("optim_wrapper =", "optim_wraper =", ["'optim_wraper'", "did you mean 'optim_wrapper'"]),
        ("model =", "modle =", ["'modle'", "did you mean 'model'"]),
        ("clip_grad", "clip_gard", ["'optim_wrapper.clip_gard'", "did you mean 'clip_grad'"]),
        ("lr=base_lr", "learning_rat=1", ["'optim_wrapper.optimizer.learning_rat'", "SGD accepts", "momentum"]),
        ("start_factor", "start_facter", ["'param_scheduler.0.start_facter'", "did you mean 'start_factor'"]),
        ('"MultiStepLR"', '"MultiStepLr"', ["param_scheduler.1.type", "did you mean 'MultiStepLR'"]),
        ("max_epochs", "max_epoch", ["'train_cfg.max_epoch'", "did you mean 'max_epochs'"]),
        ("interval=1", "intervall=1", ["'default_hooks.logger.intervall'", "did you mean 'interval'"]),
        ("EMAHook", "EMAHok", ["custom_hooks.0.type", "did you mean 'EMAHook'"]),
    ],
)
def test_misspelt_key_is_named_with_its_path_and_a_near_name(
    small: Path, old: str, new: str, expected: list[str]
) -> None:
    assert SMALL.count(old) == 1
    small.write_text(SMALL.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_config(small)
    for part in expected:
        assert part in str(caught.value)


def test_overrides_change_values_and_add_keys_that_the_class_accepts(small: Path) -> None:
    config = load_config(
        small,
        {
            "model.depth": 34,
            "model.init_cfg": None,
            "model.frozen_stages": 1,
            "train_dataloader.prefetch_factor": 2,
            "param_scheduler.0.end": 7,
            "randomness.seed": 3,
            "work_dir": "somewhere",
        },
    )
    assert (config.model.depth, config.model.init_cfg, config.model.frozen_stages) == (34, None, 1)
    assert (config.train_dataloader.prefetch_factor, config.param_scheduler[0].end) == (2, 7)
    assert (config.randomness.seed, config.work_dir) == (3, "somewhere")


def test_override_of_the_type_accepts_the_keys_of_the_new_class(small: Path) -> None:
    optimizer = {"type": "AdamW", "betas": (0.9, 0.99)}
    config = load_config(small, {f"optim_wrapper.optimizer.{key}": value for key, value in optimizer.items()})
    assert config.optim_wrapper.optimizer == {"lr": 0.01, **optimizer}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"model.dept": 34}, ["model.dept", "did you mean 'depth'"]),
        ({"modle.depth": 34}, ["modle", "did you mean 'model'"]),
        ({"base_lr": 1}, ["override base_lr", "variable of the config", "was used when the file was read"]),
        ({"foo.bar": 1}, ["'foo'", "expected one of"]),
        ({"default_hooks.loger.interval": 2}, ["default_hooks.loger", "did you mean 'logger'"]),
        ({"param_scheduler.2.end": 7}, ["param_scheduler", "2 entries", "'2'"]),
        ({"model.depth.x": 1}, ["model.depth", "18", "no keys"]),
    ],
)
def test_override_of_an_unknown_path(small: Path, override: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(small, override)
    for part in expected:
        assert part in str(caught.value)


def test_missing_file_names_the_path_and_a_near_file(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"smal\.py does not exist \(did you mean 'small\.py'\?\)"):
        load_config(small.with_name("smal.py"))
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        load_config(small.parent / "nowhere" / "small.py")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(small.parent)


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [("a = 1\nb = (\n", 2, "SyntaxError"), ("a = 1\n\nb = c\n", 3, "NameError"), ("a = 1 / 0\n", 1, "ZeroDivision")],
)
@pytest.mark.parametrize("in_base", [False, True])
def test_error_in_a_config_names_file_and_line(tmp_path: Path, text: str, line: int, error: str, in_base: bool) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(text)
    path = broken
    if in_base:
        path = tmp_path / "heir.py"
        path.write_text("_base_ = './broken.py'\n")
    with pytest.raises(ConfigError, match=rf"broken\.py, line {line}: {error}"):
        load_config(path)


def test_missing_base_is_named(tmp_path: Path) -> None:
    path = tmp_path / "heir.py"
    path.write_text("_base_ = './absent.py'\n")
    with pytest.raises(ConfigError, match=r"absent\.py"):
        load_config(path)


@pytest.mark.parametrize(
    "value",
    ['x"+__import__("os").abort()+"', "x'+__import__('os').abort()+'", "{{ fileDirname }}", "a\nb", "\\", "~/x"],
)
@pytest.mark.parametrize("name", ["nuclei/solov2-nano_nuclei.py", "coco_mini/solov2-nano_overfit8.py"])
def test_data_root_from_the_environment_is_data(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_ROOT", value)
    config = load_config(CONFIGS / name)
    dataset = config.val_dataloader.dataset
    assert (dataset.data_root or dataset.data_prefix.img.removesuffix("/train2017/")) == value
    assert capsys.readouterr().out == ""
    (tmp_path / "printed.py").write_text(config.pretty_text)
    if "{{" not in value:
        assert load_config(tmp_path / "printed.py").val_dataloader == config.val_dataloader


def test_empty_data_root_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ROOT", "")
    assert load_config(CONFIGS / "nuclei/solov2-nano_nuclei.py").data_root == "data/nuclei256/"


@pytest.mark.parametrize(
    "text",
    ['a = 1\nb = "{{$ROOT:data/coco/}}"\n', "a = 1\nb = {{'$ROOT:data/coco/'}}\n", "\nb = {{ $ROOT:data/coco/ }}"],
)
@pytest.mark.parametrize("in_base", [False, True])
def test_substituted_environment_variables_are_refused(
    tmp_path: Path, text: str, in_base: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOT", '"+__import__("os").abort()+"')
    path = tmp_path / "old.py"
    path.write_text(text)
    if in_base:
        path = tmp_path / "heir.py"
        path.write_text("_base_ = './old.py'\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "old.py, line 2: {{$ROOT...}}" in str(caught.value)
    assert "os.environ.get('ROOT') or 'data/coco/'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["fifo", "device"])
@pytest.mark.parametrize("in_base", [False, True])
def test_only_regular_files_are_read(tmp_path: Path, kind: str, in_base: bool) -> None:
    path = make_endless(tmp_path / "odd.py", kind)
    if in_base:
        path = tmp_path / "heir.py"
        path.write_text("_base_ = './odd.py'\n")
    outcome = run_limited(lambda: str(load_config(path)), seconds=5)
    assert outcome.startswith("ConfigError: config ") and outcome.endswith("odd.py is not a regular file")


def test_text_where_a_class_expects_a_number(tmp_path: Path) -> None:
    path = CONFIGS / "shapes" / "solov2-nano_shapes.py"
    with pytest.raises(ConfigError, match=r"'model\.postprocess\.score_thr': .* expects a number, got 'high'"):
        load_config(path, overrides={"model.postprocess.score_thr": "high"})
    with pytest.raises(ConfigError, match=r"'train_cfg\.max_epochs': EpochBasedTrainLoop expects a number, got 'two'"):
        load_config(path, overrides={"train_cfg.max_epochs": "two"})
    with pytest.raises(ConfigError, match=r"'model\.num_classes': SOLOv2 expects a number, got '3,'"):
        load_config(path, overrides={"model.num_classes": "3,"})


@pytest.mark.parametrize(
    "text",
    [
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n",
        "from mmengine.config import LazyCall\nmodel = LazyCall(dict)()\n",
        "from .base import model\n",
    ],
)
def test_lazy_configs_are_refused_with_what_to_write(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lazy.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"lazy\.py, line 1: lazy configs .*_base_ = \['\./base\.py'\]") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_config_files_are_all_that_is_inherited(tmp_path: Path) -> None:
    (tmp_path / "grand.py").write_text("a = 1\n")
    (tmp_path / "base.py").write_text("_base_ = 'grand.py'\n")
    (tmp_path / "heir.py").write_text("_base_ = ['base.py']\n")
    assert config_files(tmp_path / "heir.py") == [str(tmp_path / f"{name}.py") for name in ("heir", "base", "grand")]
