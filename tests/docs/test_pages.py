"""The documentation must stay true: links, anchors, files, names, options and settings are checked against the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from solo.checkpoints.fitting import model_on_meta
from solo.config import load_config
from tests.helpers.pages import PAGES, described_files, inline_code, page_name, prose, shell_lines
from tests.helpers.paths import CONFIGS, ROOT

# What a command makes, or what a user brings: it need not exist in a fresh clone.
MADE_BY_USE = ("data/coco", "data/my_data", "data/shapes", "work_dirs/")


def test_there_is_something_to_check() -> None:
    assert len(PAGES) >= 7
    assert len(list(shell_lines())) > 15


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings]
    return {re.sub(r"\s+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_files_exist(page: Path) -> None:
    written = {name for each in PAGES for name in described_files(each)}
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
    sources = [*(ROOT / "solo/cli").rglob("*.py"), ROOT / "solo/runtime/__main__.py"]
    known = set(re.findall(r'"(--[\w-]+)"', "".join(path.read_text() for path in sources)))
    unknown_on_purpose = {"--help", "--show"}  # every parser has the first; "there is no --show"
    unknown_on_purpose |= {"--nproc-per-node"}  # of torchrun
    unknown_on_purpose |= {"--no-verify"}  # argparse adds it to --verify
    for code in inline_code(page):
        options = [] if code.startswith("pip ") else re.findall(r"(?<!\S)--[a-z][\w-]*", code)
        for option in options:
            assert option in known | unknown_on_purpose, option


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_model_settings_exist(page: Path) -> None:
    config = load_config(ROOT / "configs/solov2/solov2_r50_fpn_1x_coco.py")
    # Left at their defaults there.
    optional = {"min_area_factor", "kernel_size", "shared_cell", "padded_sizes", "max_positives", "dcn", "dcn_convs"}
    optional |= {"normalize_over", "mask_loss_chunk_bytes", "largest_component", "mask_format", "chunk_bytes", "tiles"}
    for code in inline_code(page):
        match = re.fullmatch(r"(model(?:\.(?!onnx|pt2)\w+)+)(?:=\S+)?", code)
        if match is None:
            continue
        node: Any = config
        for key in match[1].split("."):
            assert key in node or key in optional, code
            node = node.get(key, {})


def test_every_config_is_named_in_some_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shipped = {path.stem for path in CONFIGS.glob("*/*.py") if path.parent.name != "_base_"}
    assert shipped <= set(re.findall(r"[\w-]+", text))


def test_readme_counts_the_configs_for_coco_and_the_parameters_of_the_small_model() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{len(list(CONFIGS.glob('solo*/*.py')))} configs of SOLOv2, SOLO and Decoupled SOLO" in readme
    model = model_on_meta(load_config(CONFIGS / "shapes/solov2-nano_shapes.py"))
    assert f"a {sum(each.numel() for each in model.parameters()) / 1e6:.1f} M parameter model" in readme


def test_versions_of_python_are_those_of_the_makefile() -> None:
    versions = r"3\.\d+ (?:to 3\.\d+|or newer)"
    allowed = set(re.findall(versions, (ROOT / "Makefile").read_text()))
    assert len(allowed) == 1
    for page in PAGES:
        assert set(re.findall(versions, page.read_text(encoding="utf-8"))) <= allowed, page
