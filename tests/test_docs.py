"""The documentation must stay true: links, files, commands, configs and Python lines are checked against the code."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from solo.config import load_config
from tests.helpers.paths import CONFIGS, ROOT

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DEMO_CONFIG = "configs/shapes/solov2-nano_shapes.py"
# Programs that the set-up brings, or that are there before it.
PROGRAMS = {"pip", "source", "tensorboard", "torchrun"}
# What a command makes, or what a user brings: it need not exist in a fresh clone.
MADE_BY_USE = ("data/coco", "data/my_data", "data/shapes", "work_dirs/")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def shell_lines() -> Iterator[tuple[str, str]]:
    """(page, command) of every command in the pages, chains taken apart."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for command in line.split("&&"):
                    yield page_name(page), command.strip()


def described_configs() -> dict[str, str]:
    """Configs that a page tells the reader to write: the path in the first line's comment, and the text."""
    texts = [block for page in PAGES for block in blocks(page, "python")]
    matches = [(re.match(r"# (configs/\S+\.py)\n", text), text) for text in texts]
    return {match[1]: text for match, text in matches if match}


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


def parse(tool: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the tool's parser makes of the arguments; the tool does not run."""
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> argparse.Namespace:
        raise Parsed(real(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [tool, *arguments])
    with pytest.raises(Parsed) as parsed:
        load_tool(tool).main()
    return parsed.value.arguments


def strip_environment(words: list[str]) -> list[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def test_there_is_something_to_check() -> None:
    assert len(PAGES) >= 7
    assert len(list(shell_lines())) > 15
    assert described_configs()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith("https://"):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_files_exist(page: Path) -> None:
    written = described_configs()
    for name in inline_code(page):
        if re.fullmatch(r"(solo|configs|tools|tests|docs|data|work_dirs)/[\w./-]*", name) and name not in written:
            found = (ROOT / name).exists() or (CONFIGS / name).exists()
            assert name.startswith(MADE_BY_USE) or found, name


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_parts_of_the_package_exist(page: Path) -> None:
    for name in inline_code(page):
        if not re.fullmatch(r"solo(\.\w+)+", name):
            continue
        parts = name.split(".")
        found: Any = importlib.import_module(parts[0])
        for depth, part in enumerate(parts[1:], start=2):
            if not hasattr(found, part):
                importlib.import_module(".".join(parts[:depth]))
            found = getattr(found, part)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_options_exist(page: Path) -> None:
    sources = [*sorted((ROOT / "tools").glob("*.py")), ROOT / "solo" / "command_line.py"]
    known = set(re.findall(r'"(--[\w-]+)"', "".join(path.read_text() for path in sources)))
    unknown_on_purpose = {"--show"}  # "there is no --show"
    for code in inline_code(page):
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", code):
            assert option in known | unknown_on_purpose, option


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_model_settings_exist(page: Path) -> None:
    config = load_config(ROOT / "configs/solov2/solov2_r50_fpn_1x_coco.py")
    # Left at their defaults there.
    optional = {"min_area_factor", "kernel_size", "shared_cell", "padded_sizes", "max_positives", "dcn", "dcn_convs"}
    optional |= {"normalize_over", "mask_loss_chunk_bytes", "mask_format", "chunk_bytes"}
    for code in inline_code(page):
        match = re.fullmatch(r"(model(?:\.\w+)+)(?:=\S+)?", code)
        if match is None:
            continue
        node: Any = config
        for key in match[1].split("."):
            assert key in node or key in optional, code
            node = node.get(key, {})


@pytest.mark.parametrize(("page", "command"), list(shell_lines()))
def test_command_exists_and_accepts_its_arguments(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = strip_environment(shlex.split(command))
    if words[0] == "export":
        assert re.fullmatch(r"[A-Z_]+=\S+", words[1])
        return
    if words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= make_targets()
        return
    if words[0] == "torchrun":
        words = ["python", *words[next(i for i, word in enumerate(words) if word.endswith(".py")) :]]
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file()
        (config,) = (word for word in words if word.startswith("configs/"))
        load_config(ROOT / config)
        return
    if words[0] != "python":
        assert words[0] in PROGRAMS
        return
    assert (ROOT / words[1]).is_file()
    arguments = parse(words[1], words[2:], monkeypatch)
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
        words = strip_environment(shlex.split(command))
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


def test_every_config_is_named_in_the_readme_or_in_the_table_of_models() -> None:
    readme, table = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/model_zoo.md"))
    named = set(re.findall(r"`(configs/[^`]+\.py)`", readme))
    named |= {f"configs/{name}" for name in re.findall(r"^\| `([^`]+\.py)` \|", table, re.MULTILINE)}
    shipped = {page_name(path) for path in (CONFIGS).glob("*/*.py") if path.parent.name != "_base_"}
    assert shipped <= named


def test_demo_report_looks_as_the_readme_shows_it() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- results:demo -->\s+```text\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    demo: Any = runpy.run_path(str(ROOT / "tools" / "demo.py"))
    # The visualised images hold nothing that COCO calls large.
    metrics = {
        f"coco/{name}_{key}": -1.0 if key.endswith("_l") else 0.5
        for name in ("segm", "bbox")
        for key in _metric_names()
    }
    summary = dict(train_seconds=1, total_seconds=2, visualisations="work_dirs/demo/visualisations")
    printed = demo["report"](metrics, summary, work_dir=Path("work_dirs/demo"))
    assert _without_numbers(shown[1]) == _without_numbers(printed)


def _metric_names() -> list[str]:
    from solo.evaluation.ap_table import COLUMNS

    return list(COLUMNS.values())


def _without_numbers(text: str) -> list[str]:
    return [" ".join(re.sub(r"\d+(\.\d+)?", "#", line).split()) for line in text.strip().splitlines()]
