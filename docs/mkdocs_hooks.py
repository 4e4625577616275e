"""Hooks of mkdocs: pages of the repository's root, and a page of reference for each package of `solo`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "LICENSE": "licence.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages of the packages under Reference."""
    assert config.nav is not None
    (reference,) = (entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference += [{f"solo.{name}": f"reference/{name}.md"} for name in packages()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, with their links as seen from docs/, and those of the packages."""
    for source, page in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if not source.endswith(".md"):
            text = f"# {source.capitalize()}\n\n```text\n{text}```\n"
        files.append(File.generated(config, page, content=re.sub(r"\]\(([^)\s]+)\)", _moved_link, text)))
    for name in packages():
        files.append(File.generated(config, f"reference/{name}.md", content=_reference(name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links of docs/ to pages of the root lead to those pages of the site."""
    for source, page in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({page}")
    return markdown


def packages() -> list[str]:
    """The packages and modules of `solo`, those that begin with an underscore left out."""
    found = [path.parent.name for path in (ROOT / "solo").glob("*/__init__.py")]
    return sorted(name for name in found if not name.startswith("_"))


def _reference(name: str) -> str:
    """What a package exports; all its modules where it exports nothing."""
    exports = "__all__" in (ROOT / "solo" / name / "__init__.py").read_text(encoding="utf-8")
    options = ["show_root_heading: false", "show_root_toc_entry: false"] + ["show_submodules: true"] * (not exports)
    lines = "".join(f"      {option}\n" for option in options)
    return f"# solo.{name}\n\n::: solo.{name}\n    options:\n{lines}"


def _moved_link(link: re.Match[str]) -> str:
    target = link[1]
    path, hash_sign, anchor = target.partition("#")
    return f"]({ROOT_PAGES.get(path, path.removeprefix('docs/'))}{hash_sign}{anchor})"
