"""Commands, configs and Python lines of the pages are accepted by the programs that they name."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from solo.cli import main
from solo.cli.demo import report
from solo.config import load_config
from tests.helpers.pages import PAGES, blocks, described_configs, page_name, shell_lines, words_of
from tests.helpers.paths import CONFIGS, ROOT

DEMO_CONFIG = "configs/shapes/solov2-nano_shapes.py"
# Programs that the set-up brings, or that are there before it.
PROGRAMS = {"pip", "pre-commit", "source", "tensorboard", "torchrun"}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


class Parsed(Exception):  # noqa: N818 - it reports success
    """Raised instead of running a tool, once its own parser has accepted the command line."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments


def load_tool(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"documented_{Path(path).stem}", ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the parser of `solo ...` or of `tools/NAME.py ...` makes of the arguments; the command does not run."""
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> argparse.Namespace:
        raise Parsed(real(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(Parsed) as parsed:
        main() if words[0] == "solo" else load_tool(words[0]).main()
    return parsed.value.arguments


@pytest.mark.parametrize(("page", "command"), list(shell_lines()))
def test_command_exists_and_accepts_its_arguments(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(command)
    if words[0] == "export":
        assert re.fullmatch(r"[A-Z_]+=\S+", words[1])
        return
    if words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= make_targets()
        return
    if words[0] == "torchrun":
        start = next(i for i, word in enumerate(words) if word == "-m" or word.endswith(".py"))
        words = ["python", *words[start:]]
    if words[:3] == ["python", "-m", "solo"]:
        words = words[2:]
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file()
        (config,) = (word for word in words if word.startswith("configs/"))
        load_config(ROOT / config)
        return
    if words[0] not in ("python", "solo"):
        assert words[0] in PROGRAMS
        return
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2])
        assert all((ROOT / word).exists() for word in words[3:] if word.startswith("tests/"))
        return
    arguments = parse(words if words[0] == "solo" else words[1:], monkeypatch)
    config = getattr(arguments, "config", None)
    if config is None:
        return
    if config not in described_configs():
        load_config(ROOT / config, overrides=getattr(arguments, "cfg_options", None))


@pytest.mark.parametrize("path", sorted(described_configs()))
def test_described_config_is_valid(path: str, tmp_path: Path) -> None:
    shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in described_configs().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for page, command in shell_lines():
        words = words_of(command)
        if path in words and "--cfg-options" in words:
            changes = words[words.index("--cfg-options") + 1 :]
            overrides = dict(change.split("=", 1) for change in changes)
            load_config(tmp_path / path, overrides=overrides)
            assert overrides, page
    config = load_config(tmp_path / path)
    assert config.model.num_classes == 3
    assert config.test_dataloader.dataset.ann_file == config.val_dataloader.dataset.ann_file
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.data_root == "data/my_data/"
        assert loader.dataset.type == "CocoInstances"


def test_python_lines_compile_and_their_imports_exist() -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            tree = ast.parse(block, filename=page_name(page))
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    module = importlib.import_module(str(node.module))
                    assert all(hasattr(module, alias.name) for alias in node.names), (page_name(page), node.module)
                elif isinstance(node, ast.Import):
                    for alias in node.names:
                        importlib.import_module(alias.name)


def test_readme_names_the_first_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert {"make demo", "make test"} <= set(lines)


def test_readme_predicts_with_the_checkpoint_that_the_demo_leaves() -> None:
    last_epoch = load_config(ROOT / DEMO_CONFIG).train_cfg.max_epochs
    named = set(re.findall(r"work_dirs/demo/epoch_(\d+)\.pth", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named == {str(last_epoch)}


def test_demo_report_looks_as_the_readme_shows_it() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- results:demo -->\s+```text\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    # The visualised images hold nothing that COCO calls large.
    metrics = {
        f"coco/{name}_{key}": -1.0 if key.endswith("_l") else 0.5
        for name in ("segm", "bbox")
        for key in _metric_names()
    }
    summary = dict(train_seconds=1, total_seconds=2, visualisations="work_dirs/demo/visualisations")
    printed = report(metrics, summary, work_dir=Path("work_dirs/demo"))
    assert _without_numbers(shown[1]) == _without_numbers(printed)


def _metric_names() -> list[str]:
    from solo.evaluation.ap_table import COLUMNS

    return list(COLUMNS.values())


def _without_numbers(text: str) -> list[str]:
    return [" ".join(re.sub(r"\d+(\.\d+)?", "#", line).split()) for line in text.strip().splitlines()]
