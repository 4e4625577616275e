"""Figures of the pages come from the result files: no two pages state different ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import CONFIGS, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = re.compile(r"<!-- results:\w+ -->.*?<!-- /results -->", re.DOTALL)
SHIPPED = sorted(path for path in CONFIGS.glob("solo*/*.py"))


def run_tables(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "docs/tables.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for folder in ("docs", "benchmarks/results"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("images"))
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def test_pages_state_what_the_result_files_hold() -> None:
    found = run_tables(ROOT, "--check")
    assert found.returncode == 0, f"run `python docs/tables.py`; out of date: {found.stdout}{found.stderr}"


def test_another_result_is_found_and_written(clone: Path) -> None:
    results = json.loads((clone / "docs/results.json").read_text())
    results["trainings"]["coco_mini"]["runs"] = [{"seed": 0, "mask_ap": 0.123, "box_ap": 0.456, "minutes": 7}]
    (clone / "docs/results.json").write_text(json.dumps(results))
    found = run_tables(clone, "--check")
    assert found.returncode == 1
    assert {"README.md", "docs/model_zoo.md"} <= set(found.stdout.split())
    assert "0.123" not in (clone / "README.md").read_text()
    assert run_tables(clone).returncode == 0
    assert "0.123 | 0.456 | 7.0" in (clone / "README.md").read_text()
    assert run_tables(clone, "--check").returncode == 0


def test_another_benchmark_is_found_and_written(clone: Path) -> None:
    path = clone / "benchmarks/results/infer_r50.json"
    report = json.loads(path.read_text())
    for row in report["rows"]:
        if row["name"].startswith("latency") and "/" not in row["name"]:
            row.update(ratio=3.25, spread=[3.125, 12.5])
    path.write_text(json.dumps(report))
    assert run_tables(clone).returncode == 0
    for page in ("README.md", "docs/benchmarks.md"):
        assert "3.25 (3.12-12.5)" in (clone / page).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_ap_of_ours_is_written_by_hand(page: Path) -> None:
    by_hand = GENERATED.sub("", page.read_text(encoding="utf-8"))
    assert not re.findall(r"^.*\bAP\b.*\b0\.\d{3}\b.*$", by_hand, re.MULTILINE)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_ap_in_the_comment_of_a_config_is_that_of_the_table(path: Path) -> None:
    comment = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    stated = re.findall(r"\b\d\d\.\d\b(?= mask AP)|(?<=mask AP )\d\d\.\d\b", comment)
    table = (ROOT / "docs/model_zoo.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{path.parent.name}/{path.name}` \|.*$", table, re.MULTILINE)
    assert row is not None
    assert set(stated) <= set(re.findall(r"\b\d\d\.\d\b", row[0].split("|")[4]))


def test_configs_of_our_own_state_no_ap() -> None:
    for folder in ("shapes", "nuclei", "coco_mini", "custom"):
        for path in (CONFIGS / folder).glob("*.py"):
            assert not re.search(r"\b0\.\d{3} (mask|box)? ?AP", path.read_text()), path
