"""Models as folders: found by name or path, predicted, exported, and what is no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from solo.checkpoints import published
from solo.checkpoints.loading import load_checkpoint
from solo.checkpoints.published import find_model, is_model, model_names
from solo.checkpoints.publishing import publish
from solo.cli import main
from solo.errors import CheckpointError, ConfigError
from solo.inference.predictor import SOLOPredictor
from tests.helpers.fakes import write_checkpoint, write_config


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "weights.pth")


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    publish(checkpoint, tmp_path / "models" / "tiny", config=write_config(tmp_path), half=True)
    return tmp_path / "models" / "tiny"


def test_half_weights_are_the_rounded_ones(folder: Path, checkpoint: Path) -> None:
    before, after = (load_checkpoint(path)["state_dict"] for path in (checkpoint, folder / "weights.safetensors"))
    assert {value.dtype for value in after.values() if value.is_floating_point()} == {torch.float16}
    for name, value in before.items():
        torch.testing.assert_close(after[name].to(value.dtype), value.half().to(value.dtype), rtol=0, atol=0)


def test_weights_beyond_float16_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    name = next(name for name, value in content["state_dict"].items() if value.is_floating_point())
    content["state_dict"][name].view(-1)[0] = 1e5
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match="outside float16"):
        publish(checkpoint, tmp_path / "out", config=write_config(tmp_path), half=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_a_model(folder: Path) -> None:
    assert find_model(folder) == (folder / "config.py", folder / "weights.safetensors")
    assert is_model(folder) and is_model(str(folder))
    assert SOLOPredictor(folder).classes == ("dark", "bright")


def test_a_name_is_a_model_that_comes_with_solo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "MODELS", folder.parent)
    assert model_names() == ["tiny"]
    assert SOLOPredictor("tiny").classes == ("dark", "bright")
    with pytest.raises(
        CheckpointError, match=r"no model or folder 'tinny' \(did you mean 'tiny'\?\); solo brings tiny"
    ):
        find_model("tinny")


@pytest.mark.parametrize("missing", ["config.py", "weights.safetensors"])
def test_half_a_folder_is_no_model(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert not is_model(folder)
    with pytest.raises(CheckpointError, match=r"holds config\.py and weights\.safetensors or weights\.pth"):
        find_model(folder)


def test_a_config_alone_is_no_model() -> None:
    with pytest.raises(ConfigError, match="expected a checkpoint with this config, an exported file, or one of"):
        SOLOPredictor("solov2-nano_shapes")


def test_commands_take_a_model(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.zeros((32, 32, 3), np.uint8))
    assert main(["predict", str(image), "--model", str(folder), "--out-dir", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "predictions.json").exists()
    for words, message in [
        (["predict", str(image)], "expected --checkpoint, with --config unless"),
        (["predict", str(image), "--model", str(folder), "--checkpoint", "a.pth"], "expected --checkpoint, with"),
        (["predict", str(image), "--model", str(folder), "--config", "a.py"], "has a config of its own"),
        (["predict", str(image), "--model", str(tmp_path / "none")], "no model or folder"),
        (["export", str(folder)], "expected --out, the file to write"),
    ]:
        capsys.readouterr()
        assert main(words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
