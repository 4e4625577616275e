"""The wheel alone: built, installed outside the clone, and used from an empty folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import solo
from solo.config.names import list_configs
from tests.helpers.paths import CONFIGS, ROOT

SMALL = [
    "train_cfg.max_epochs=1",
    "train_cfg.val_interval=5",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "train_dataloader.batch_size=2",
    "train_dataloader.dataset.num_train=4",
    "train_dataloader.dataset.num_val=2",
    "val_dataloader.dataset.num_train=4",
    "val_dataloader.dataset.num_val=2",
]


def execute(*words: str | Path, folder: Path) -> str:
    done = subprocess.run(
        list(map(str, words)),
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("solo", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", "wheels"]
    execute(sys.executable, "-m", "pip", "wheel", source, *options, folder=source)
    (found,) = (source / "wheels").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which borrows the dependencies of this one."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # A plain line of a .pth file is appended to the path and its own .pth files are not read: no editable install.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    target = ["--python", environment / "bin" / "python"]
    execute(
        sys.executable, "-m", "pip", *target, "install", "--no-deps", "--no-index", "--quiet", wheel, folder=packages
    )
    return environment / "bin"


@pytest.mark.long
def test_contents(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {f"solo/configs/{path.relative_to(CONFIGS)}" for path in CONFIGS.rglob("*.py")}
    assert shipped <= set(names)
    assert {name.partition("/")[0] for name in names} == {"solo", f"solov2-{solo.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.long
def test_metadata(wheel: Path) -> None:
    """A newer torch or Python is the user's choice; a clone is tested with the torch of requirements.txt."""
    text = zipfile.ZipFile(wheel).read(f"solov2-{solo.__version__}.dist-info/METADATA").decode()
    assert "\nRequires-Dist: torch>=2.4\n" in text
    assert "\nRequires-Python: >=3.10\n" in text


@pytest.mark.long
def test_a_newcomer_needs_no_clone(bin_folder: Path, tmp_path: Path) -> None:
    command = bin_folder / "solo"
    where = execute(bin_folder / "python", "-c", "import solo; print(solo.__file__)", folder=tmp_path)
    assert where.startswith(str(bin_folder.parent))
    assert execute(command, "--version", folder=tmp_path) == f"solo {solo.__version__}\n"
    assert "everything that solo needs is there" in execute(command, "doctor", folder=tmp_path)
    assert execute(command, "config", "--list", folder=tmp_path).splitlines() == list(list_configs())
    execute(command, "config", "solov2-nano_shapes", "--copy", "my.py", folder=tmp_path)
    execute(command, "train", "my.py", "--work-dir", "run", "--cfg-options", *SMALL, folder=tmp_path)
    out = execute(
        *(command, "predict", "data/shapes/val", "--config", "solov2-nano_shapes", "--checkpoint", "run/epoch_1.pth"),
        folder=tmp_path,
    )
    assert out.startswith("2 images, ")
    assert (tmp_path / "predictions" / "predictions.json").is_file()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_demo_needs_no_clone(bin_folder: Path, tmp_path: Path) -> None:
    few = [f"test_dataloader.dataset.{key}={count}" for key, count in (("num_train", 4), ("num_val", 2))]
    execute(bin_folder / "solo", "demo", "--cfg-options", *SMALL, *few, folder=tmp_path)
    summary = json.loads((tmp_path / "work_dirs" / "demo" / "summary.json").read_text())
    assert len(list((tmp_path / summary["visualisations"]).glob("*.png"))) == 2
