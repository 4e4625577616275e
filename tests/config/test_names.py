"""Configs by name: on the command line, in `_base_`, and copied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from solo.config import load_config
from solo.config.copying import inheriting_text
from solo.config.names import find_config, list_configs
from solo.errors import ConfigError
from tests.helpers.paths import CONFIGS

NAME = "solov2_r50_fpn_1x_coco"
SHIPPED = sorted(path for path in CONFIGS.glob("*/*.py") if path.parent.name != "_base_")


def test_every_complete_config_has_one_name() -> None:
    assert sorted(list_configs().values()) == SHIPPED
    assert all(find_config(name) == path for name, path in list_configs().items())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (NAME, f"solov2/{NAME}.py"),  # two other folders have the name too
        (f"solov2/{NAME}", f"solov2/{NAME}.py"),
        (f"solov2_paddle/{NAME}", f"solov2_paddle/{NAME}.py"),
        ("solov2-nano_shapes", "shapes/solov2-nano_shapes.py"),
        ("shapes/solov2-nano_shapes", "shapes/solov2-nano_shapes.py"),
    ],
)
def test_names(name: str, path: str) -> None:
    assert find_config(name) == CONFIGS / path


def test_an_existing_file_wins_and_a_folder_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir()
    assert find_config(NAME) == CONFIGS / "solov2" / f"{NAME}.py"
    Path(NAME).rmdir()
    Path(NAME).write_text("a = 1\n")
    assert find_config(NAME) == Path(NAME)


@pytest.mark.parametrize("name", ["solov2_r51_fpn_1x_coco", "solov2/solov2_r51_fpn_1x_coco"])
def test_unknown_name_suggests_a_near_one(name: str, tmp_path: Path) -> None:
    config = tmp_path / "own.py"
    config.write_text(f"_base_ = {name!r}\n")
    for path in (name, config):
        with pytest.raises(ConfigError, match=r"did you mean '(solov2/)?solov2_r50_fpn_1x_coco'\?") as caught:
            load_config(path)
        assert "\n" not in str(caught.value)


def test_a_missing_path_is_not_taken_for_a_name(tmp_path: Path) -> None:
    """A user's own file of the same name, looked for in the wrong folder, is not replaced by the one of solo."""
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / f"{NAME}.py")


@pytest.mark.parametrize("base", [repr(NAME), f"[{NAME!r}]"], ids=["one", "list"])
def test_base_by_name(base: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"_base_ = {base}\nsmaller = dict(_base_.test_resize, scale=(9, 9))\nmodel = dict(num_classes=3)\n")
    config, expected = load_config(path), load_config(NAME, {"model.num_classes": 3})
    assert config.pop("smaller").scale == (9, 9)
    assert config.to_dict() == expected.to_dict()
    assert load_config(path).model == expected.model


def test_a_dumped_config_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"_base_ = {NAME!r}\n")
    load_config(path).dump(tmp_path / "dumped.py")
    code = f"from mmengine.config import Config; print(len(Config.fromfile({str(tmp_path / 'dumped.py')!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(load_config(path))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_copy_repeats_values_and_changes_nothing(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    text = inheriting_text(config, base=f"{path.parent.name}/{path.stem}")
    (tmp_path / "own.py").write_text(text)
    assert load_config(tmp_path / "own.py").to_dict() == config.to_dict()
    for key in ("num_classes", "batch_size", "data_root", "ann_file", "lr", "max_"):
        assert f"{key}" in text


def test_copies_leave_out_what_a_config_lacks() -> None:
    text = inheriting_text(Config(dict(model=dict(type="mmdet.ResNet"), load_from="w.pth")), base="../base.py")
    assert '_base_ = "../base.py"' in text
    assert text.rstrip().endswith("load_from = 'w.pth'")
    assert "model =" not in text and "dataloader" not in text
