"""Every command of docs/look_at_data.md runs, on generated shapes, one after the other; the training is only loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from solo.cli import main
from solo.config import load_config
from solo.datasets import ensure_shapes
from tests.docs.test_newcomer import commands_of


@pytest.mark.timeout(300)
def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    ensure_shapes(str(tmp_path / "data/my_data"), num_train=12, num_val=3, image_size=160, seed=0)
    monkeypatch.chdir(tmp_path)
    commands = commands_of("docs/look_at_data.md")
    assert [words[1] for words in commands if words[0] == "data"] == [
        *("check", "stats", "tune", "browse", "split", "merge")
    ]
    for words in commands:
        if words[0] == "train":
            load_config(words[1])
            continue
        assert main(words) == 0, words
        assert capsys.readouterr().out
    for name in ("my_data.png", "browse.html", "split/instances_test.json", "all.json"):
        assert (tmp_path / "work_dirs" / name).is_file()
