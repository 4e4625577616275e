"""Backbones start from ImageNet weights by file name; a missing file is told with its place."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import MMLogger

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.imagenet import KNOWN_FILES, load_backbone, locate
from solo.errors import CheckpointError
from solo.registry import MODELS
from tests.helpers.paths import CONFIGS

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


@pytest.mark.parametrize(
    ("backbone", "dialect", "prefix"),
    [
        (dict(type="mmdet.ResNet", depth=50, base_channels=4), "paddle", "backbone."),
        (dict(type="mmdet.ResNetV1d", depth=101, base_channels=4, stem_channels=8), "paddle", "backbone."),
        (dict(type="mmdet.ResNetV1d", depth=50, base_channels=4, stem_channels=8), "paddle-static", ""),
        (dict(type="MobileNetV3"), "paddle-static", ""),
    ],
)
def test_paddles_files_are_translated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], backbone: dict[str, Any], dialect: str, prefix: str
) -> None:
    """Written under Paddle's names without the backbone's own, and with a classifier; every weight arrives."""
    torch.manual_seed(0)
    weights = {name: value for name, value in MODELS.build(backbone).state_dict().items() if "num_batches" not in name}
    weights = {name: torch.rand_like(value) for name, value in weights.items()}
    ours = [f"backbone.{name}" for name in weights]
    theirs = DIALECTS[dialect].to_theirs(ours)
    content = {str(theirs[f"backbone.{name}"]).removeprefix(prefix): value.numpy() for name, value in weights.items()}
    assert "None" not in content
    path = tmp_path / "weights.pdparams"
    path.write_bytes(pickle.dumps({**content, "fc.weight": torch.zeros(2, 1000).numpy()}, protocol=2))
    model = MODELS.build({**backbone, "init_cfg": dict(type="Pretrained", checkpoint=f"imagenet://{path}")})
    MMLogger.get_current_instance()
    model.init_weights()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())
    printed = "".join(capfd.readouterr())
    assert "WARNING" not in printed and "unexpected" not in printed


@pytest.mark.parametrize("depth", [18, 34])
def test_a_resnet_of_timm_gives_the_same_maps(cache: Path, depth: int) -> None:
    """Its stem has other names."""
    timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    theirs = timm.create_model(f"resnet{depth}d").eval()
    for name, value in theirs.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias")):
            value.uniform_(0.5, 1)
    (name,) = (name for name in KNOWN_FILES if name.startswith(f"resnet{depth}d"))
    torch.save(theirs.state_dict(), cache / name)
    backbone = dict(type="mmdet.ResNetV1d", depth=depth)
    ours = MODELS.build({**backbone, "init_cfg": dict(type="Pretrained", checkpoint=f"imagenet://{name}")})
    MMLogger.get_current_instance()
    ours.init_weights()
    ours.eval()
    assert set(ours.state_dict()) == set(load_backbone(name))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[-1], theirs.forward_features(images))


def test_every_shipped_config_starts_from_a_known_file() -> None:
    configs = CONFIGS
    named = {
        line.split("imagenet://")[1].split('"')[0]
        for path in configs.rglob("*.py")
        for line in path.read_text().splitlines()
        if "imagenet://" in line
    }
    assert named == set(KNOWN_FILES)
