"""`solo export`: its options reach the export, errors are one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from solo.cli import main
from solo.export import ExportOptions
from tests.helpers.commands import run_tool


def test_options_reach_the_export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[dict[str, Any]] = []

    def export(config: str, checkpoint: str, **options: Any) -> Path:
        calls.append(dict(config=config, checkpoint=checkpoint, **options))
        return Path("m_openvino")

    monkeypatch.setattr("solo.cli.export.export_model", export)
    words = [
        "--format",
        "openvino",
        "--contract",
        "raw",
        "--imgsz",
        "64",
        "96",
        "--batch",
        "2",
        "--half",
        "--no-verify",
    ]
    words += ["--data", "images", "--weights-licence", "CC0", "--out", "m_openvino", "--overwrite"]
    assert main(["export", "a.py", "a.pth", *words, "--cfg-options", "model.num_classes=3"]) == 0
    options = ExportOptions(
        format="openvino",
        contract="raw",
        size=(64, 96),
        batch=2,
        half=True,
        verify=False,
        data=Path("images"),
        weights_licence="CC0",
    )
    assert calls == [
        dict(
            config="a.py",
            checkpoint="a.pth",
            options=options,
            out="m_openvino",
            overwrite=True,
            overrides={"model.num_classes": 3},
        )
    ]
    assert capsys.readouterr().out == "exported to m_openvino\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--imgsz", "64", "100"], "error: image size 64 x 100 (H x W): both must be multiples of 32 up to 32768\n"),
        (
            ["--format", "onxx"],
            "error: format 'onxx' is unknown (did you mean 'onnx'?); there are onnx, openvino, pt2\n",
        ),
        (["--int8"], "error: int8 needs data: a folder with some hundred images like those of the training\n"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "a.py", "a.pth", *words]) == 2
    assert capsys.readouterr().err == message


def test_the_script_runs(tmp_path: Path) -> None:
    done = run_tool("export.py", "a.py", "a.pth", "--opset", "21", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: opset 21 of format onnx: only format onnx has opsets, from 18 to 20\n"
