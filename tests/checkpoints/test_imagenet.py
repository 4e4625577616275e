"""Backbones start from ImageNet weights by file name; a missing file is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger

from solo.checkpoints.imagenet import load_backbone, locate
from solo.errors import CheckpointError
from solo.registry import MODELS

NAME = "resnet18-f37072fd.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def resnet(checkpoint: str) -> torch.nn.Module:
    return MODELS.build(
        {"type": "mmdet.ResNet", "depth": 18, "init_cfg": {"type": "Pretrained", "checkpoint": checkpoint}}
    )


@pytest.mark.parametrize("in_cache", [True, False])
def test_init_weights_takes_the_file_without_a_word_about_the_classifier(
    cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], in_cache: bool
) -> None:
    donor = resnet("unused")
    weights = {key: torch.full_like(value, 3) for key, value in donor.state_dict().items()}
    path = (cache if in_cache else tmp_path) / NAME
    torch.save({**weights, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    model = resnet(f"imagenet://{NAME if in_cache else path}")
    MMLogger.get_current_instance()
    model.init_weights()
    assert all(bool((value == 3).all()) for value in model.state_dict().values())
    printed = "".join(capfd.readouterr())
    assert "WARNING" not in printed
    assert "fc." not in printed


def test_missing_file_says_where_it_goes_how_to_get_it_and_how_to_do_without(cache: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        resnet(f"imagenet://{NAME}").init_weights()
    message = str(caught.value)
    assert f"{NAME} are expected at {cache / NAME}." in message
    assert f"https://download.pytorch.org/models/{NAME}" in message
    assert "--cfg-options model.backbone.init_cfg=None" in message


def test_unknown_name_gets_the_near_and_the_known_ones(cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)did you mean 'resnet18-f37072fd\.pth'.*known names: .*resnet101-"):
        load_backbone("imagenet://resnet18-f37072f.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_file_is_named(cache: Path, content: bytes) -> None:
    (cache / NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{NAME} is damaged"):
        load_backbone(f"imagenet://{NAME}")


def test_names_with_a_folder_are_paths(cache: Path) -> None:
    assert locate(f"imagenet://{NAME}") == cache / NAME
    assert locate("imagenet:///weights/a.pth") == Path("/weights/a.pth")
    assert locate("imagenet://weights/a.pth") == Path("weights/a.pth")
