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
import torch
from mmengine.registry import init_default_scope

from solo.cli import main
from solo.cli.demo import report
from solo.config import load_config
from solo.datasets import SHAPES_CLASSES, ensure_shapes
from solo.registry import MODELS
from tests.helpers.pages import PAGES, blocks, described_configs, page_name, shell_lines, words_of
from tests.helpers.paths import CONFIGS, ROOT

DEMO_CONFIG = "configs/shapes/solov2-nano_shapes.py"
# Programs that the set-up brings, or that are there before it.
PROGRAMS = {"curl", "cvat-cli", "find", "pip", "pre-commit", "scp", "source", "tensorboard", "torchrun"}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


class Parsed(Exception):  # noqa: N818 - it reports success
    """Raised instead of running a tool, once its own parser has accepted the command line."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments


def load_script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"documented_{Path(path).stem}", ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the parser of `solo ...` or `python SCRIPT ...` makes of the words; nothing runs."""
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> argparse.Namespace:
        raise Parsed(real(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(Parsed) as parsed:
        main() if words[0] == "solo" else load_script(words[0]).main()
    return parsed.value.arguments


def check_config(config: str | list[str] | None, overrides: dict[str, Any] | None) -> None:
    """The config loads, by path or by name, unless a page tells the reader to write or to copy it."""
    if isinstance(config, list):  # of an option that may be given twice
        for each in config:
            check_config(each, overrides)
        return
    if config is not None and config not in described_configs() and config not in copied_configs():
        path = ROOT / config
        load_config(path if path.exists() else config, overrides=overrides)


def copied_configs() -> set[str]:
    """Files that commands of the pages make by `solo config NAME --copy FILE` and `solo data tune --write FILE`."""
    made = r"^solo (?:config|data tune) .*--(?:copy|write) (\S+)$"
    return {name for _, command in shell_lines() for name in re.findall(made, command)}


@pytest.mark.parametrize(("page", "command"), list(shell_lines()))
def test_command_exists_and_accepts_its_arguments(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(command)
    if words[0] == "torchrun":
        words = ["python", *words[next(i for i, word in enumerate(words) if word == "-m" or word.endswith(".py")) :]]
    if words[:3] == ["python", "-m", "solo"]:
        words = words[2:]
    if words[0] == "export":
        assert re.fullmatch(r"[A-Z_]+=\S+", words[1])
    elif words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= make_targets()
    elif words[0] == "bash":
        assert (ROOT / words[1]).is_file()
        (config,) = (word for word in words if word.startswith("configs/"))
        load_config(ROOT / config)
    elif words[0] == "solo":
        arguments = parse(words, monkeypatch)
        check_config(getattr(arguments, "config", None), getattr(arguments, "cfg_options", None))
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
        assert all((ROOT / word).exists() for word in words[3:] if word.startswith("tests/"))
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
        if words[1].startswith("benchmarks/"):
            arguments = parse(words[1:], monkeypatch)
            check_config(getattr(arguments, "config", None), getattr(arguments, "cfg_options", None))
    else:
        assert words[0] in PROGRAMS


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


@pytest.fixture
def demo_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone's folder with some shapes and, in place of the demo's checkpoint, a random model that detects much."""
    config = load_config(ROOT / DEMO_CONFIG)
    ensure_shapes(str(tmp_path / "data/shapes"), num_train=1, num_val=5, image_size=160, seed=0)
    init_default_scope("solo")
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    with torch.no_grad():
        for parameter in model.head.parameters():
            if parameter.shape == (config.model.num_classes,):
                parameter.fill_(3.0)  # every cell is sure of every class
    path = tmp_path / f"work_dirs/demo/epoch_{config.train_cfg.max_epochs}.pth"
    path.parent.mkdir(parents=True)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=SHAPES_CLASSES))), path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("demo_checkpoint")
def test_snippet_of_the_readme_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    snippet = re.search(
        r"<!-- snippet -->\s+```python\n(.*?)```\s+```text\n(.*?)```\s+<!-- /snippet -->", text, re.DOTALL
    )
    assert snippet is not None
    exec(compile(snippet[1], "README.md", "exec"), {})
    # Another model finds other objects: the form of each line is compared.
    first, *instances = capsys.readouterr().out.splitlines()
    shown_first, *shown_instances = snippet[2].splitlines()
    form = r"Instances\((\d+ \w+(, )?)+; 160 x 160 pixels\)"
    assert re.fullmatch(form, first) and re.fullmatch(form, shown_first)
    assert instances and shown_instances
    (shown,) = {line.partition(":")[2] for line in _without_numbers("\n".join(shown_instances))}
    assert {line.partition(":")[2] for line in _without_numbers("\n".join(instances))} == {shown}
    assert {line.partition(":")[0] for line in (*instances, *shown_instances)} <= set(SHAPES_CLASSES)
    assert Path("found.json").is_file()


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
