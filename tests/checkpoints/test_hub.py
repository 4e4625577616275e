"""Checkpoints of a Hub on this machine: downloaded once, checked, resumed; each failure is one line."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from solo.checkpoints.hub import HubFile, local_checkpoint, parse_hub_name
from solo.errors import CheckpointError
from tests.helpers.hub_server import COMMIT, REPO, HubServer, serve

pytest.importorskip("huggingface_hub")
CONTENT = bytes(range(256)) * 400
NAME = f"hf://{REPO}/weights/model.pth"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve({"weights/model.pth": CONTENT}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


def message(name: str) -> str:
    with pytest.raises(CheckpointError) as raised:
        local_checkpoint(name)
    text = str(raised.value)
    assert text.startswith("checkpoint ") and "\n" not in text
    return text


def test_downloaded_once_and_recorded(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    path = local_checkpoint(NAME)
    assert Path(path).read_bytes() == CONTENT and Path(path).name == "model.pth"
    assert local_checkpoint(f"hf://{REPO}@{COMMIT}/weights/model.pth#sha256={SHA256}") == path
    before = hub.requests
    hub.files.clear()
    assert local_checkpoint(f"hf://{REPO}@{COMMIT}/weights/model.pth") == path  # a commit does not change
    assert hub.requests == before


def test_offline_takes_the_cache_alone(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not in the cache, and nothing is downloaded offline" in message(NAME)
    assert hub.requests == 0
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path = local_checkpoint(NAME)
    before = hub.requests
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert local_checkpoint(NAME) == path and hub.requests == before


def test_missing_things(hub: HubServer) -> None:
    assert f"{REPO} has no file other.pth" in message(f"hf://{REPO}/other.pth")
    assert "there is no repository someone/other" in message("hf://someone/other/model.pth")
    assert f"{REPO} has no revision v2" in message(f"hf://{REPO}@v2/weights/model.pth")


def test_another_content_is_refused(hub: HubServer) -> None:
    assert f"its sha256 is {SHA256}, expected {'0' * 64}" in message(f"{NAME}#sha256={'0' * 64}")
    hub.files["changed.pth"] = CONTENT
    hub.sha256["changed.pth"] = "f" * 64  # what the Hub states is not what it sends
    assert f"expected {'f' * 64}" in message(f"hf://{REPO}/changed.pth")


def test_an_interrupted_download_is_resumed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks for the rest alone, and the file is whole."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut = 60_000
    assert Path(local_checkpoint(NAME)).read_bytes() == CONTENT
    assert hub.ranges == ["bytes=60000-"]


def test_no_network(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port of `discard`, where nothing listens
    assert "cannot be reached" in message(NAME)


@pytest.mark.parametrize("url", ["http://example.org/a.pth", "https://example.org/a.pth"])
def test_urls_are_not_downloaded(url: str) -> None:
    assert "fetch the file and give its path" in message(url)


@pytest.mark.parametrize("name", ["hf://", "hf://org/repo", "hf://repo.pth", "hf://o/r/../../x", "hf://o/r/f#sha256=1"])
def test_malformed_names(name: str) -> None:
    assert "expected hf://ORG/REPO/FILE" in message(name)


def test_names() -> None:
    assert parse_hub_name("hf://a/b/c/d.pth") == HubFile("a/b", "c/d.pth", None, None)
    assert parse_hub_name(f"hf://a/b@v1/d.pth#sha256={SHA256}") == HubFile("a/b", "d.pth", "v1", SHA256)
    assert local_checkpoint("some/file.pth") == "some/file.pth"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: Any = None
    monkeypatch.setitem(sys.modules, "huggingface_hub", missing)
    assert "`pip install solov2[hub]` brings it" in message(NAME)


def test_a_work_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    """Else for its latest; a folder without checkpoints, such as an OpenVINO model, for itself."""
    assert local_checkpoint(tmp_path) == str(tmp_path)
    for age, name in enumerate(("epoch_2.pth", "epoch_10.pth", "best_coco_segm_mAP_epoch_2.pth", "epoch_11.pth")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
        expected = "best_coco_segm_mAP_epoch_2.pth" if age >= 2 else name
        assert local_checkpoint(tmp_path) == str(tmp_path / expected)
