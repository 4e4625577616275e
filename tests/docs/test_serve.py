"""The curl commands of docs/serve.md run as they are printed."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from pycocotools.coco import COCO

pytest.importorskip("fastapi", reason="needs solov2[serve]")
pytest.importorskip("python_multipart", reason="needs solov2[serve]")

from tests.helpers.pages import shell_lines
from tests.helpers.served import image_file, running_server, served_app

ADDRESS = "http://127.0.0.1:7860"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_each_answers_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(image_file(suffix=".jpg"))
    commands = [command for page, command in shell_lines() if page == "docs/serve.md" and command.startswith("curl ")]
    assert len(commands) == 6
    with running_server(served_app()) as url:
        outputs = []
        for command in commands:
            assert ADDRESS in command
            words = shlex.split(command.replace(ADDRESS, url))
            done = subprocess.run([*words, "--fail", "--silent"], cwd=tmp_path, capture_output=True, timeout=60)
            assert done.returncode == 0, command
            outputs.append(done.stdout)
    polygons, rle, *_, health, metadata = outputs
    assert "polygons" in json.loads(polygons)["instances"][0] and "rle" in json.loads(rle)["instances"][0]
    assert len(COCO(str(tmp_path / "photo.json")).anns) == 2
    assert (tmp_path / "photo.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(health)["status"] == "ok" and json.loads(metadata)["models"][0]["name"] == "a.onnx"
