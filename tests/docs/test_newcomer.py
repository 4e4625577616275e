"""What the README and the first pages tell a newcomer to type works, one command after the other, with fewer images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from solo.datasets import SHAPES_CLASSES, ensure_shapes
from tests.helpers.commands import run_solo
from tests.helpers.pages import blocks, words_of
from tests.helpers.paths import ROOT

FEW = [f"{split}_dataloader.dataset.num_{kind}=4" for split in ("train", "val", "test") for kind in ("train", "val")]
SHORT = ["train_dataloader.batch_size=4", "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"]


def commands_of(page: str, *, after: str = "") -> list[list[str]]:
    """The words of every `solo` command of a page, from the heading `after` to the next one of that level."""
    path = ROOT / page
    section = path.read_text(encoding="utf-8").partition(after)[2].partition("\n## ")[0] if after else None
    found = [block for block in blocks(path, "bash") if section is None or block in section]
    lines = [line for block in found for line in block.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in map(words_of, lines) if words[:1] == ["solo"]]


def with_options(words: list[str], *options: str) -> list[str]:
    """The words with more `--cfg-options`."""
    return [*words, *([] if "--cfg-options" in words else ["--cfg-options"]), *options]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_getting_started(tmp_path: Path) -> None:
    demo = ["demo", "--config", "solov2-nano_shapes"]  # what `make demo` calls
    run_solo(*with_options(demo, *FEW, *SHORT), folder=tmp_path)
    commands = commands_of("docs/getting_started.md")
    assert {words[0] for words in commands} == {"doctor", "predict", "config", "train"}
    for words in commands:
        changed = with_options(words, *FEW, *SHORT) if words[0] == "train" else words
        assert run_solo(*changed, folder=tmp_path), words
    predictions = json.loads((tmp_path / "predictions/predictions.json").read_text())
    assert len(predictions["images"]) == 4
    assert "data_root" in (tmp_path / "my_shapes.py").read_text()
    assert (tmp_path / "work_dirs/short/epoch_1.pth").is_file()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_own_data_as_in_the_readme(tmp_path: Path) -> None:
    ensure_shapes(str(tmp_path / "data/my_data"), num_train=4, num_val=2, image_size=160, seed=0)
    shutil.copytree(tmp_path / "data/my_data/val", tmp_path / "photos")
    commands = commands_of("README.md", after="## Train on your own data")
    assert [words[0] for words in commands] == ["data", "data", "train", "test", "predict"]
    for words in commands:
        changed = with_options(words, *SHORT, "train_cfg.max_epochs=1") if words[0] == "train" else words
        run_solo(*changed, folder=tmp_path)
    assert (tmp_path / "work_dirs/my_tuned/report/report.html").is_file()
    predictions = json.loads((tmp_path / "predictions/predictions.json").read_text())
    assert [category["name"] for category in predictions["categories"]] == list(SHAPES_CLASSES)
