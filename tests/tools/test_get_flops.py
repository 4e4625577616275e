"""Sizes and resolved configs as a user asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from solo.config import load_config
from tests.helpers.commands import run_tool
from tests.helpers.paths import CONFIGS

NANO = CONFIGS / "shapes" / "solov2-nano_shapes.py"


@pytest.mark.long
def test_get_flops(tmp_path: Path) -> None:
    done = run_tool("get_flops.py", NANO, "--shape", "128", "160", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["input", "128", "x", "160"]
    assert [line.split()[0] for line in lines[2:]] == ["backbone", "neck", "mask_feature", "head", "total"]
    assert run_tool("get_flops.py", NANO, "--shape", "0", "1", folder=tmp_path).returncode == 2


@pytest.mark.long
def test_print_config(tmp_path: Path) -> None:
    """What is printed is a config of its own, the same as the one it was made of."""
    done = run_tool("print_config.py", NANO, "--cfg-options", "model.num_classes=7", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "printed.py").write_text(done.stdout)
    printed = Config.fromfile(tmp_path / "printed.py")
    assert "_base_" not in done.stdout
    assert printed.model.num_classes == 7
    expected = load_config(NANO, overrides={"model.num_classes": 7}).to_dict()
    assert printed.to_dict() == expected
    missing = run_tool("print_config.py", "nowhere.py", folder=tmp_path)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
