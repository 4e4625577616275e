"""The OpenMMLab packages as `import solo` leaves them: no compiled operators, no distutils, no code in checkpoints."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import mmengine.utils
import pytest
import torch

import solo
from solo import compat
from solo.checkpoints import load_checkpoint
from solo.errors import CheckpointError
from tests.helpers.paths import ROOT

TRAINING = ROOT / "tests" / "helpers" / "tiny_training.py"
ABSENT_ON_NEW_PYTHONS = "distutils,pkg_resources,setuptools,imp"


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=100, check=False)


def test_every_operator_of_mmcv_can_be_imported_and_says_what_to_install_when_called() -> None:
    if importlib.util.find_spec("mmcv._ext").origin is not None:  # type: ignore[union-attr]
        pytest.skip("a full mmcv is installed")
    import mmcv.ops

    with pytest.raises(ImportError, match=r"compiled operator `nms` is not available.*mmcv==2"):
        mmcv.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


def test_a_compiled_extension_comes_before_the_placeholder(tmp_path: Path) -> None:
    code = (
        "import solo, mmcv\n"
        f"mmcv.__path__.insert(0, {str(tmp_path)!r})\n"
        "import mmcv._ext\n"
        "assert mmcv._ext.compiled == 'yes', mmcv._ext\n"
    )
    (tmp_path / "_ext.py").write_text("compiled = 'yes'\n")
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr


def test_applying_twice_changes_nothing() -> None:
    finders, collect = list(sys.meta_path), mmengine.utils.dl_utils.collect_env
    compat.apply()
    assert sys.meta_path == finders
    assert mmengine.utils.dl_utils.collect_env is collect


@pytest.mark.parametrize("without", ["", ABSENT_ON_NEW_PYTHONS])
def test_a_run_trains_resumes_and_stays_quiet(tmp_path: Path, without: str) -> None:
    first = run_python(str(TRAINING), str(tmp_path), "1", "--without", without)
    assert first.returncode == 0, first.stderr
    assert "OpenCV" in first.stdout, "the environment is printed"
    second = run_python(str(TRAINING), str(tmp_path), "2", "--resume", "--without", without)
    assert second.returncode == 0, second.stderr
    assert "resumed epoch: 1, iter: 2" in second.stdout + second.stderr
    assert "Epoch(train) [2][2/2]" in second.stdout + second.stderr
    for line in (first.stdout + first.stderr + second.stdout + second.stderr).splitlines():
        # The training imports mmengine before solo, which can then not silence what torch 2.4 says about itself.
        is_of_torch = any(part in line for part in ("torch.jit", "/torch/", "`TorchScript` support"))
        assert is_of_torch or "WARNING" not in line, line
        assert is_of_torch or not ("Warning:" in line and ("mmengine" in line or "mmdet" in line)), line
        assert "pkg_resources" not in line, line


def test_no_loader_of_mmengine_can_run_code(tmp_path: Path) -> None:
    torch.save({"extra": Path}, tmp_path / "bad.pth")
    loader = importlib.import_module("mmengine.runner.checkpoint")
    assert loader.torch.save is torch.save
    with pytest.raises(CheckpointError, match="pathlib"):
        loader.torch.load(tmp_path / "bad.pth", weights_only=False)
    with pytest.raises(CheckpointError, match="pathlib"):
        loader.load_from_local(str(tmp_path / "bad.pth"), "cpu")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9/a.pth",
        "https://localhost:9/a.pth",
        "torchvision://resnet50",
        "modelzoo://resnet50",
        "open-mmlab://resnet50",
        "openmmlab://resnet50",
        "mmcls://resnet50",
        "pavi://a",
        "s3://bucket/a.pth",
        "cluster:s3://bucket/a.pth",
        "petrel://bucket/a.pth",
    ],
)
def test_mmengine_downloads_nothing(url: str) -> None:
    """Its loaders of URLs would also unpickle what they get without limits."""
    from mmengine.model import BaseModule
    from mmengine.runner import CheckpointLoader
    from mmengine.runner.checkpoint import load_url

    with pytest.raises(CheckpointError, match="solo downloads nothing"):
        CheckpointLoader.load_checkpoint(url)
    with pytest.raises(CheckpointError, match="solo downloads nothing"):
        BaseModule(init_cfg=dict(type="Pretrained", checkpoint=url)).init_weights()
    with pytest.raises(CheckpointError, match="solo downloads nothing"):
        load_url(url)


@pytest.mark.parametrize("place", ["meta", "message_hub"])
@pytest.mark.parametrize("key", ["cfg", "config"])
def test_inference_of_mmengine_does_not_evaluate_a_config_in_a_checkpoint(tmp_path: Path, place: str, key: str) -> None:
    from mmengine.config import Config
    from mmengine.infer import BaseInferencer

    text = f"open({str(tmp_path / 'trace')!r}, 'w')\nmodel = dict(type='mmdet.ResNet', depth=18)\n"
    meta = {"meta": {key: text}} if place == "meta" else {"message_hub": {"runtime_info": {key: text}}}
    torch.save({"state_dict": {}, "meta": {}, **meta}, tmp_path / "a.pth")
    with pytest.raises((ValueError, KeyError)):
        BaseInferencer._init_model(SimpleNamespace(), Config({}), str(tmp_path / "a.pth"))
    assert not (tmp_path / "trace").exists()
    checkpoint = load_checkpoint(tmp_path / "a.pth")
    values = checkpoint["meta"] if place == "meta" else checkpoint["message_hub"]["runtime_info"]
    assert values[f"{key}_text"] == text


def test_environment_is_collected_without_distutils() -> None:
    before = sys.modules.get("distutils")
    assert mmengine.utils.dl_utils.collect_env()["PyTorch"] == torch.__version__
    assert sys.modules.get("distutils") is before


@pytest.mark.parametrize(
    ("name", "installed"), [("mmdet", True), ("mmcv", True), ("solov2", True), ("no-such-thing", False)]
)
def test_is_installed(name: str, installed: bool) -> None:
    assert mmengine.utils.is_installed(name) is installed


def test_get_installed_path() -> None:
    import mmdet

    assert mmengine.utils.get_installed_path("mmdet") == str(Path(mmdet.__file__).parent)
    assert mmengine.utils.get_installed_path("mmcv-lite").endswith("mmcv")
    with pytest.raises(PackageNotFoundError):
        mmengine.utils.get_installed_path("no_such_thing")


def test_config_files_of_mmdet_can_be_inherited() -> None:
    """mmengine finds `mmdet::...` by `get_installed_path`."""
    from mmengine.config import Config

    config = Config.fromfile(Path(mmengine.utils.get_installed_path("mmdet"), ".mim/configs/_base_/default_runtime.py"))
    assert config.default_scope == "mmdet"


def test_import_brings_nothing_slow() -> None:
    """`import solo` stays quick because what only some commands need is imported when they need it."""
    slow = ("mmdet", "matplotlib", "pycocotools", "scipy", "tensorboard", "solo.datasets", "solo.models")
    code = f"import sys, solo; print([name for name in {slow!r} if name in sys.modules])"
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""


def test_import_works_from_any_folder(tmp_path: Path) -> None:
    code = "import solo; print(solo.__version__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == solo.__version__
