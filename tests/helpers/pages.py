"""What the pages of the documentation say: their code blocks, commands and inline code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "data/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def shell_lines() -> Iterator[tuple[str, str]]:
    """(page, command) of every command in the pages, chains and pipes taken apart."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for command in re.split(r"&&| \| ", line):
                    yield page_name(page), command.strip()


def words_of(command: str) -> list[str]:
    """The words of a command, without the environment variables before it."""
    words = shlex.split(command, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def described_files(page: Path) -> dict[str, str]:
    """Files that a page tells the reader to write: the path in the first line's comment, and the text."""
    matches = [(re.match(r"# (\S+\.py)\n", text), text) for text in blocks(page, "python")]
    return {match[1]: text for match, text in matches if match}


def described_configs() -> dict[str, str]:
    """The configs for own data that the pages describe; those of CONTRIBUTING.md are examples of their own."""
    pages = (page for page in PAGES if page.name != "CONTRIBUTING.md")
    files = {name: text for page in pages for name, text in described_files(page).items()}
    return {name: text for name, text in files.items() if re.search("^_base_ = ", text, re.MULTILINE)}
