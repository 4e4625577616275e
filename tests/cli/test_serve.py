"""`solo serve`: its command line, how it starts and stops, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from solo.cli import main
from tests.helpers.commands import finish, start_module
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.model_metadata import model_metadata
from tests.helpers.onnx_files import write_detections
from tests.helpers.paths import ROOT
from tests.helpers.served import image_file

pytest.importorskip("fastapi", reason="needs solov2[serve]")
pytest.importorskip("onnx", reason="needs solov2[onnx]")
pytest.importorskip("onnxruntime", reason="needs solov2[onnx]")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_detections(tmp_path / "model.onnx")


def start(folder: Path, *words: str) -> tuple[subprocess.Popen[str], list[str], str]:
    """Start `solo serve` at a free port; returns the process, the lines up to the URL, and the URL."""
    process = start_module("solo", "serve", *words, "--port", "0", folder=folder)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while lines[-1] and not lines[-1].startswith("page "):
        lines.append(process.stdout.readline())
    assert lines[-1], finish(process, code=2)
    return process, lines, lines[-1].split()[1]


def predict(url: str, query: str) -> dict:
    request = urllib.request.Request(f"{url}/predict?{query}", data=image_file(height=64, width=96))
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_two_models_of_different_classes(model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_detections(tmp_path / "other" / "model.onnx", metadata=model_metadata(classes=("a", "b")))
    process, lines, url = start(tmp_path, str(model), str(other))
    try:
        assert lines[:2] == ["model.onnx: 2 classes, on cpu\n", "model.onnx (2): 2 classes, on cpu\n"]
        assert "different classes" in lines[2]
        assert predict(url, "model=model.onnx%20(2)&score_thr=0")["model"] == "model.onnx (2)"
    finally:
        process.send_signal(signal.SIGINT)
    assert finish(process) == ("stopped\n", "")


def test_a_checkpoint_with_its_config(tmp_path: Path) -> None:
    checkpoint, config = write_checkpoint(tmp_path / "model.pth"), write_config(tmp_path)
    process, _, url = start(tmp_path, str(checkpoint), "--config", str(config), "--device", "cpu")
    try:
        assert set(predict(url, "format=rle")["seconds"]) == {"wait", "read", "network", "decode"}
    finally:
        process.send_signal(signal.SIGINT)
    finish(process)


BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "mmengine", "mmcv", "mmdet", "pycocotools", "hotcoco", "matplotlib", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


def test_exported_files_are_served_without_torch(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These packages cannot be imported in the process; a checkpoint is refused in one line there."""
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    # Not by `start_module`, which sets PYTHONPATH itself.
    command = [sys.executable, "-m", "solo", "serve", "--port", "0"]
    process = subprocess.Popen([*command, str(model)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[1].startswith("page "), process.communicate()
        url = lines[1].split()[1]
        assert set(predict(url, "format=rle")["seconds"]) == {"wait", "read", "network", "decode"}
        with urllib.request.urlopen(f"{url}/", timeout=30) as page:
            assert b"<html" in page.read()
    finally:
        process.send_signal(signal.SIGINT)
    assert finish(process) == ("stopped\n", "")
    for words in (["weights.pth", "--config", "c.py"], ["nuclei-nano"]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith(f"error: {words[0]}: a checkpoint needs "), done.stderr
        assert done.stderr.count("\n") == 1
    done = subprocess.run([*command, str(model), "--cfg-options", "a=1"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, "--cfg-options changes configs, which need" in done.stderr) == (2, True), done.stderr


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(["serve", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
    return printed.err


def test_port_in_use(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(capsys, model, "--port", str(port))
    assert f"--port {port}: address already in use; --port chooses another one" in message


@pytest.mark.parametrize("words", [["--port", "99999999"], ["--port", "-1"], ["--host", "203.0.113.7"]])
def test_address_that_cannot_be_used(model: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert words[1] in refused(capsys, model, "--port", "0", *words)


def test_model_that_does_not_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    assert "bad.onnx" in refused(capsys, tmp_path / "bad.onnx", "--port", "0")
    assert "missing.onnx does not exist" in refused(capsys, tmp_path / "missing.onnx", "--port", "0")


def test_wrong_numbers_of_models_and_configs(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    free = ["--port", "0"]
    assert "one model, or two" in refused(capsys, model, model, model, *free)
    assert "expected one --config" in refused(capsys, "a.pth", *free)
    assert "expected no --config" in refused(capsys, model, "--config", "a.py", *free)
    assert "--cfg-options change configs of checkpoints" in refused(capsys, model, *free, "--cfg-options", "a=1")
    assert "max_pixels must be above 0" in refused(capsys, model, "--max-pixels", "0", *free)


@pytest.mark.parametrize(("module", "name"), [("fastapi", "fastapi"), ("python_multipart", "python-multipart")])
def test_missing_extra(model: Path, module: str, name: str) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; from solo.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", str(model)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, f'error: solo serve needs {name}: pip install "solov2[serve]"\n')
