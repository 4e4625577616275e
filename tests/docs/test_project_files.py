"""Files that other programs read: changelog, citation, hooks, forms and the documentation site."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import solo
from tests.helpers.paths import ROOT

FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


class TestChangelog:
    def headings(self) -> list[str]:
        return re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    def test_begins_with_what_is_not_released_and_has_the_present_version(self) -> None:
        assert self.headings()[0] == "[Unreleased]"
        assert f"[{solo.__version__}]" in [heading.partition(" - ")[0] for heading in self.headings()]

    def test_versions_fall_and_have_dates(self) -> None:
        released = [
            re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", heading) for heading in self.headings()[1:]
        ]
        assert all(released)
        versions = [tuple(map(int, match.groups())) for match in released if match]
        assert versions == sorted(set(versions), reverse=True)

    def test_kinds_of_change_are_those_of_keep_a_changelog(self) -> None:
        kinds = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_citation_has_what_the_format_demands() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == solo.__version__
    released = re.search(rf"^## \[{re.escape(solo.__version__)}\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released is not None
    assert str(citation["date-released"]) == released[1]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()


class TestPreCommit:
    def hooks(self) -> list[dict[str, Any]]:
        repos = read_yaml(".pre-commit-config.yaml")["repos"]
        assert [repo["repo"] for repo in repos] == ["local"]  # another one would be downloaded
        return [hook for repo in repos for hook in repo["hooks"]]

    def test_hooks_run_what_the_environment_has(self) -> None:
        for hook in self.hooks():
            assert hook["language"] == "system"
            program, *words = hook["entry"].split()
            assert (Path(sys.executable).parent / program).exists() or shutil.which(program)
            assert all((ROOT / word).exists() for word in words if word.endswith(".py"))

    def test_hooks_are_what_make_lint_runs(self) -> None:
        recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert recipe is not None
        linters = {" ".join(line.split()[0:2]).replace("$(BIN)/", "") for line in recipe[1].splitlines()}
        entries = {hook["entry"] for hook in self.hooks()}
        assert all(any(entry.startswith(linter) for entry in entries) for linter in linters)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_form_is_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert form == {"blank_issues_enabled": False}
        return
    assert {"name", "description", "body"} <= form.keys()
    questions = [item for item in form["body"] if item["type"] != "markdown"]
    ids = [item["id"] for item in questions]
    assert len(set(ids)) == len(ids)
    assert all(item["type"] in ("input", "textarea", "dropdown", "checkboxes") for item in questions)
    assert all(item["attributes"]["label"] for item in questions)
    assert any(item.get("validations", {}).get("required") for item in questions)


class TestSite:
    def pages(self) -> list[str]:
        def leaves(node: Any) -> list[str]:
            if isinstance(node, str):
                return [node]
            return [leaf for part in (node.values() if isinstance(node, dict) else node) for leaf in leaves(part)]

        return leaves(read_yaml("mkdocs.yml")["nav"])

    def test_every_page_is_listed_once(self) -> None:
        listed = self.pages()
        assert len(set(listed)) == len(listed)
        assert {page.name for page in (ROOT / "docs").glob("*.md")} <= set(listed)

    def test_nothing_is_fetched(self) -> None:
        settings = read_yaml("mkdocs.yml")
        assert settings["theme"]["font"] is False
        assert not {"extra_javascript", "extra_css"} & settings.keys()

    @pytest.mark.skipif(find_spec("mkdocstrings") is None, reason="the site needs the extra docs: make docs")
    @pytest.mark.long
    def test_builds_without_warnings(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        for page in ("index.html", "reference.html", "reference/models.html"):
            text = (tmp_path / page).read_text(encoding="utf-8")
            assert not re.findall(
                r'<(?:script|img|iframe)[^>]* src="https?:|<link[^>]* rel="stylesheet" href="https?:', text
            )
        assert "SOLOPredictor" in (tmp_path / "reference.html").read_text(encoding="utf-8")
