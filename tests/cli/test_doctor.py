"""`solo doctor`: what it reports, and that it runs where a package is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import solo
from solo.cli import doctor, main
from solo.dependencies import OPTIONAL, REQUIRED
from tests.helpers.paths import ROOT


def run(folder: Path, blocked: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run `solo doctor`, or `solo WORDS`, where importing some modules raises an ImportError with the given text."""
    stubs = folder / "stubs"
    stubs.mkdir()
    for module, text in blocked.items():
        (stubs / f"{module}.py").write_text(f"raise ImportError({text!r})\n")
    return subprocess.run(
        [sys.executable, "-m", "solo", *(words or ["doctor"])],
        cwd=folder,
        env={"PYTHONPATH": f"{stubs}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["solo", solo.__version__]
    assert {*REQUIRED, *OPTIONAL, "CPU"} <= {line.split()[0] for line in lines if line}
    assert lines[-1] == "everything that solo needs is there"


def test_cv2_without_libgl(tmp_path: Path) -> None:
    error = "libGL.so.1: cannot open shared object file: No such file or directory"
    done = run(tmp_path, {"cv2": error})
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("problem: cv2"))
    assert error in line and line.endswith(doctor.MEND_CV2)


def test_broken_torch(tmp_path: Path) -> None:
    done = run(tmp_path, {"torch": "libtorch is damaged"})
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("problem: torch"))
    assert "libtorch is damaged; pip install --force-reinstall --no-deps 'torch" in line
    assert "CPU  " not in done.stdout


def test_other_commands_send_the_user_here(tmp_path: Path) -> None:
    done = run(tmp_path, {"torch": "libtorch is damaged"}, "train", "--help")
    expected = "error: a package that solo needs is missing or broken: libtorch is damaged; `solo doctor` says more\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_missing_module_is_named_with_its_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    problem = doctor.find_problem("hotcoco", broken=[])
    assert problem is not None
    assert "hotcoco" in problem.reason and "pip install" in problem.remedy and "hotcoco" in problem.remedy


def test_a_consequence_is_not_a_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    problem = doctor.find_problem("hotcoco", broken=["hotcoco"])
    assert problem is not None and problem.remedy == "mend hotcoco first"
