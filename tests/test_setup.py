"""What the set-up leaves behind, and that its files agree with each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import cv2
import pytest

import solo
from solo.dependencies import REQUIRED
from tests.helpers.paths import ROOT


def test_distribution_is_called_solov2_and_states_the_version_of_the_module() -> None:
    assert metadata.version("solov2") == solo.__version__


def test_the_only_cv2_is_the_one_that_needs_no_desktop() -> None:
    assert cv2.version.headless
    owners = [
        name
        for name in ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
        for file in _files(name)
        if file.endswith("cv2/__init__.py")
    ]
    assert owners == ["opencv-python-headless"]


def _files(distribution: str) -> list[str]:
    try:
        return [str(file) for file in metadata.files(distribution) or []]
    except metadata.PackageNotFoundError:
        return []


def test_the_stand_in_for_opencv_demands_its_own_version() -> None:
    text = (ROOT / "tools" / "opencv-headless" / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)\+headless"$', text, re.MULTILINE)
    demanded = re.search(r"opencv-python-headless==([\d.]+)", text)
    assert version is not None
    assert demanded is not None
    assert version.group(1) == demanded.group(1)


def test_setup_demands_what_requirements_name() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    named = {re.split(r"[<>=~ ]", line)[0] for line in lines if re.match(r"[a-z]", line)}
    demanded = {re.split(r"[<>=~; ]", line)[0] for line in metadata.requires("solov2") or [] if "extra ==" not in line}
    assert named == demanded
    assert {"torch", "mmengine", "mmcv-lite", "mmdet"} <= named
    assert "torchvision" not in named
    assert set(REQUIRED.values()) - {"opencv-python-headless"} == named


def test_requirements_are_complete_and_agree() -> None:
    result = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMake:
    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        return subprocess.run(
            ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    def test_help_is_the_default_and_lists_every_target(self) -> None:
        result = self.run()
        assert result.returncode == 0
        targets = re.search(r"\.PHONY: (.+)", (ROOT / "Makefile").read_text())
        assert targets is not None
        for target in targets.group(1).split():
            assert f"make {target} " in result.stdout

    def test_too_old_python_is_refused_by_name(self, tmp_path: Path) -> None:
        old = tmp_path / "python2.7"
        # Runs the recipe's check as this interpreter would, had it been the older one.
        old.write_text(
            f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[2])" "$@"\n'
        )
        old.chmod(0o755)
        result = self.run("install", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
        assert result.returncode != 0
        assert f"{old} is Python 3.9; 3.10 or newer is needed" in result.stderr
        assert not (tmp_path / "venv").exists()

    @pytest.mark.parametrize("target", ["test", "demo", "docs", "lint", "install"])
    def test_target_sets_itself_up_in_the_given_place(self, tmp_path: Path, target: str) -> None:
        result = self.run("--dry-run", target, f"VENV={tmp_path / 'venv'}")
        assert f"-m venv {tmp_path / 'venv'}" in result.stdout
        assert "-r requirements.txt" in result.stdout
