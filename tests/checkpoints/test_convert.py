"""Files in, files out: what is written, what is refused, and what the refusal advises."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from solo import SOLOPredictor
from solo.checkpoints.convert import export_checkpoint, import_checkpoint
from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.state_dict import convert_from_ours
from solo.config import load_config
from solo.errors import CheckpointError, OutputError
from solo.registry import MODELS
from tests.helpers.paths import CONFIGS

NANO = CONFIGS / "shapes" / "solov2-nano_shapes.py"
SHAPES = ("ellipse", "triangle", "rectangle", "star")


@pytest.fixture(scope="module")
def ours() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return MODELS.build(load_config(NANO).model).state_dict()


@pytest.fixture
def theirs(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    return convert_from_ours(ours, dialect=DIALECTS["mmdet"])[0]


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_what_is_written(tmp_path: Path, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "theirs.pth", {"state_dict": theirs, "meta": {"CLASSES": SHAPES}})
    target = tmp_path / "new" / "ours.pth"
    report = import_checkpoint(source, target, config=NANO)
    checkpoint = torch.load(target, weights_only=True)
    assert list(checkpoint["state_dict"]) == list(ours)
    assert all(torch.equal(checkpoint["state_dict"][name], tensor) for name, tensor in ours.items())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert checkpoint["meta"] == {
        "dataset_meta": {"classes": SHAPES},
        "preprocessing": {"channel_order": "RGB", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
        "converted_from": {"dialect": "mmdet", "file": "theirs.pth", "sha256": digest},
    }
    written = json.loads(target.with_name("ours.pth.report.json").read_text())
    assert written["complete"]
    assert written["source"] == {"path": str(source), "dialect": "mmdet", "sha256": digest}
    assert written["target"]["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert [entry["target"] for entry in written["mapped"]] == list(ours)
    assert written["mapped"][0] == {
        "source": "backbone.conv1.weight",
        "target": "backbone.conv1.weight",
        "shape": [16, 3, 7, 7],
    }
    assert report.target is not None
    assert report.target.sha256 in report.summary()
    assert sorted(path.name for path in target.parent.iterdir()) == ["ours.pth", "ours.pth.report.json"]


def test_the_written_checkpoint_predicts(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "theirs.pth", {"state_dict": theirs, "meta": {"CLASSES": SHAPES}})
    import_checkpoint(source, tmp_path / "ours.pth", config=NANO)
    predictor = SOLOPredictor(NANO, tmp_path / "ours.pth")
    assert predictor.classes == SHAPES
    assert predictor(np.zeros((64, 64, 3), np.uint8)).image_size == (64, 64)


def test_predicting_with_other_images_than_the_weights_need_is_refused(
    tmp_path: Path, theirs: dict[str, Tensor]
) -> None:
    import_checkpoint(save(tmp_path / "theirs.pth", theirs), tmp_path / "ours.pth", config=NANO)
    config = load_config(NANO, {"model.data_preprocessor.bgr_to_rgb": False})
    with pytest.raises(CheckpointError, match=r"ours\.pth needs images .*\n.*bgr_to_rgb: the weights need True"):
        SOLOPredictor(config, tmp_path / "ours.pth")


@pytest.mark.parametrize("dialect", sorted(set(DIALECTS) - {"adelaidet"}))
def test_every_dialect_is_told_by_its_names(tmp_path: Path, ours: dict[str, Tensor], dialect: str) -> None:
    arrays = {name: tensor.numpy() for name, tensor in convert_from_ours(ours, dialect=DIALECTS[dialect])[0].items()}
    source = tmp_path / "theirs.pdparams"
    source.write_bytes(pickle.dumps(arrays))
    report = import_checkpoint(source, tmp_path / "ours.pth", config=NANO)
    assert report.source is not None
    assert report.source.dialect == dialect
    assert "class names are" not in " ".join(report.notes)  # four classes whose names only the data knows
    assert report.complete


def test_adelaidet_needs_other_images(tmp_path: Path, ours: dict[str, Tensor]) -> None:
    source = save(tmp_path / "a.pth", {"model": convert_from_ours(ours, dialect=DIALECTS["adelaidet"])[0]})
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(source, tmp_path / "ours.pth", config=NANO)
    message = str(caught.value)
    assert "model.data_preprocessor.bgr_to_rgb: the weights need False, the config has True" in message
    assert "model.backbone.style: the weights need caffe, the config has pytorch" in message
    assert "--trust-config" in message
    report = import_checkpoint(source, tmp_path / "ours.pth", config=NANO, trust_config=True)
    assert any("model.backbone.style" in note for note in report.notes)
    meta = torch.load(tmp_path / "ours.pth", weights_only=True)["meta"]
    assert meta["preprocessing"]["channel_order"] == "RGB"


def test_a_source_for_another_config_names_the_one_it_fits(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "theirs.pth", theirs)
    other = CONFIGS / "solov2" / "solov2_r50_fpn_1x_coco.py"
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(source, tmp_path / "ours.pth", config=other)
    message = str(caught.value)
    assert f"{source} (mmdetection 2 and 3) does not fit {other}" in message
    assert "backbone: ResNet-18, 7x7 stem, 128 channels at the top in the weights, ResNet-50" in message
    assert "classes: 4 in the weights, 80 in the config" in message
    assert "it fits configs/shapes/solov2-nano_shapes.py" in message.replace(str(CONFIGS.parent) + "/", "")
    assert not (tmp_path / "ours.pth").exists()


def test_other_classes_alone_come_with_both_ways_out(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "theirs.pth", theirs)
    with pytest.raises(CheckpointError, match=r"--cfg-options model\.num_classes=N.*--allow-missing"):
        import_checkpoint(source, tmp_path / "ours.pth", config=NANO, overrides={"model.num_classes": 2})
    report = import_checkpoint(
        source,
        tmp_path / "ours.pth",
        config=NANO,
        overrides={"model.num_classes": 2},
        allow_missing=["head.category_predictor.*"],
    )
    assert report.complete
    assert len(report.missing) == 2
    assert "head.category_predictor.weight" not in torch.load(tmp_path / "ours.pth", weights_only=True)["state_dict"]


def test_a_wrong_dialect_is_refused(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "theirs.pth", theirs)
    with pytest.raises(CheckpointError, match=r"\(PaddleDetection 2\) does not fit"):
        import_checkpoint(source, tmp_path / "ours.pth", config=NANO, dialect="paddle")


def test_our_own_checkpoint_is_nothing_to_convert(tmp_path: Path, ours: dict[str, Tensor]) -> None:
    source = save(tmp_path / "mine.pth", {"state_dict": ours})
    with pytest.raises(CheckpointError, match=r"mine\.pth: its names are those of solo already"):
        import_checkpoint(source, tmp_path / "ours.pth", config=NANO)


def test_no_other_file_is_overwritten(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "theirs.pth", theirs)
    config = tmp_path / "config.py"
    config.write_text(f"_base_ = {str(NANO)!r}\n")
    for path in (source, config):
        before = path.read_bytes()
        with pytest.raises(OutputError, match=rf"{path.name} is a file that this command reads"):
            import_checkpoint(source, path, config=config, overwrite=True)
        assert path.read_bytes() == before
    for name in ("ours.pth", "ours.pth.report.json"):
        (tmp_path / name).write_text("of the user")
        with pytest.raises(OutputError, match=rf"{name} exists already; .*--overwrite"):
            import_checkpoint(source, tmp_path / "ours.pth", config=config)
        assert (tmp_path / name).read_text() == "of the user"
        import_checkpoint(source, tmp_path / "ours.pth", config=config, overwrite=True)
        (tmp_path / "ours.pth").unlink()


def test_a_target_that_cannot_be_written_leaves_nothing(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "theirs.pth", theirs)
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(OutputError, match=r"folder\.pth cannot be written"):
        import_checkpoint(source, tmp_path / "folder.pth", config=NANO)
    assert not list(tmp_path.glob("*.unfinished"))


def test_back_to_mmdet(tmp_path: Path, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    source = save(tmp_path / "ours.pth", {"state_dict": ours, "meta": {"dataset_meta": {"classes": SHAPES}}})
    report = export_checkpoint(source, tmp_path / "theirs.pth", config=NANO)
    written = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert list(written["state_dict"]) == list(theirs)
    assert all(torch.equal(written["state_dict"][name], tensor) for name, tensor in theirs.items())
    assert written["meta"] == {"dataset_meta": {"classes": SHAPES}}
    assert report.target is not None
    assert report.target.dialect == "mmdet"


def test_back_to_mmdet_needs_the_checkpoint_of_the_config(tmp_path: Path, ours: dict[str, Tensor]) -> None:
    source = save(tmp_path / "ours.pth", {"state_dict": ours})
    with pytest.raises(CheckpointError, match="does not fit the model SOLOv2"):
        export_checkpoint(source, tmp_path / "t.pth", config=CONFIGS / "solov2" / "solov2_r50_fpn_1x_coco.py")


DEFORMABLE = {
    "model.backbone.depth": 50,
    "model.neck.in_channels": [64, 128, 256, 512],
    "model.backbone.stage_with_dcn": (False, True, True, True),
}


def deformable(version: str, **options: object) -> dict[str, Any]:
    return {
        **DEFORMABLE,
        "model.backbone.dcn": {"type": f"solo.{version}", "deform_groups": 1, "fallback_on_stride": False},
        "model.head.dcn": {"type": version, **options},
    }


@pytest.mark.parametrize(
    ("dialect", "source", "config", "told"),
    [
        (
            "wxinlong",
            deformable("DCN"),
            deformable("DCNv2"),
            "deformable backbone: DCN (v1) in layer2, layer3, layer4 in the weights, DCNv2 in layer2, layer3",
        ),
        (
            "mmdet",
            deformable("DCNv2"),
            DEFORMABLE,
            "deformable towers: DCNv2 in 0, 1 in the weights, none in the config",
        ),
        (
            "paddle",
            deformable("DCNv2", bias=True),
            deformable("DCNv2"),
            "deformable towers: DCNv2 with bias in 0, 1 in the weights, DCNv2 in 0, 1 in the config",
        ),
    ],
)
def test_versions_of_deformable_convolution_are_told_apart(
    tmp_path: Path, dialect: str, source: dict[str, Any], config: dict[str, Any], told: str
) -> None:
    weights = MODELS.build(load_config(NANO, source).model).state_dict()
    path = save(tmp_path / "theirs.pth", convert_from_ours(weights, dialect=DIALECTS[dialect])[0])
    assert import_checkpoint(path, tmp_path / "ours.pth", config=NANO, overrides=source).complete
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path, tmp_path / "other.pth", config=NANO, overrides=config)
    assert told in str(caught.value)
