"""Test-time augmentation from configs: the views, the commands' functions, the predictor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope

from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.engine.testing import test as run_test
from solo.errors import ConfigError
from solo.inference.predictor import SOLOPredictor
from solo.inference.tta import MaskTTAModel
from solo.inference.tta.config import trained_model, tta_pipeline, use_tta
from solo.registry import MODELS, TRANSFORMS
from tests.helpers.deployment_models import build_random
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.paths import CONFIGS
from tests.helpers.tiny_model import tiny_config

COCO = CONFIGS / "solov2" / "solov2_r50_fpn_1x_coco.py"
SHAPES = CONFIGS / "shapes" / "solov2-nano_shapes.py"


def views_of(config: Config, image: np.ndarray) -> dict[str, Any]:
    with DefaultScope.overwrite_default_scope("solo"):
        pipeline = Compose([TRANSFORMS.build(step) for step in tta_pipeline(config)])
    views: dict[str, Any] = pipeline(dict(img=image, img_path=None, img_id=0))
    return views


@pytest.mark.parametrize(
    ("path", "sizes"),
    [(COCO, [(800, 1067), (640, 853), (960, 1280)]), (SHAPES, [(120, 160), (96, 128), (144, 192)])],
    ids=["coco", "shapes"],
)
def test_views_without_a_pipeline_of_their_own(path: Path, sizes: list[tuple[int, int]]) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[:, :80] = 200
    views = views_of(load_config(path), image)
    found = [(sample.img_shape, sample.flip, sample.flip_direction) for sample in views["data_samples"]]
    assert found == [(size, flip, "horizontal" if flip else None) for size in sizes for flip in (False, True)]
    assert all(sample.ori_shape == (120, 160) for sample in views["data_samples"])
    lit = [bool(view[0, 0, 0] > 100) for view in views["inputs"]]
    assert lit == [True, False] * 3


def test_pipeline_of_the_config_wins() -> None:
    config = load_config(SHAPES)
    steps = [dict(type="mmdet.RandomFlip", prob=1.0, direction="vertical")]
    config.tta_pipeline = [
        dict(type="LoadImage"),
        dict(type="TestTimeAug", transforms=[steps, [dict(type="PackSample")]]),
    ]
    views = views_of(config, np.zeros((32, 32, 3), np.uint8))
    assert [sample.flip_direction for sample in views["data_samples"]] == ["vertical"]
    config.tta_pipeline = config.tta_pipeline[:1]
    with pytest.raises(ConfigError, match="the last step of tta_pipeline must be TestTimeAug"):
        tta_pipeline(config)


def test_every_config_has_views() -> None:
    for path in sorted((CONFIGS).glob("[!_]*/*.py")):
        assert tta_pipeline(load_config(path))[-1]["type"] == "TestTimeAug"


def test_a_config_is_made_one_of_views() -> None:
    config = load_config(SHAPES)
    use_tta(config)
    assert config.model.type == "MaskTTAModel"
    assert config.model.module.type == "SOLOv2"
    assert config.test_dataloader.dataset.pipeline[-1].type == "TestTimeAug"
    assert config.val_dataloader.dataset.pipeline[-1].type == "PackSample"


def test_the_first_view_alone_is_the_plain_prediction() -> None:
    model = build_random()
    config = load_config(SHAPES)
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    batch = pseudo_collate([views_of(config, image)] * 2)
    first = {key: values[:1] for key, values in batch.items()}
    plain = {key: list(values[0]) for key, values in first.items()}
    with torch.no_grad():
        expected = model.test_step(plain)
        merged = MaskTTAModel(model).test_step(first)
    assert len(merged) == 2
    for one, other in zip(merged, expected, strict=True):
        assert len(one.pred_instances) > 0
        for key in ("scores", "labels", "bboxes", "masks"):
            assert torch.equal(one.pred_instances[key], other.pred_instances[key])
    with torch.no_grad():
        assert len(MaskTTAModel(model).test_step(batch)) == 2


def test_other_models_and_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a model like SOLOv2, got Identity"):
        MaskTTAModel(torch.nn.Identity())
    model = MaskTTAModel(build_random())
    with pytest.raises(ValueError, match="'predict'"):
        model([], [], mode="loss")
    assert trained_model(model) is model.module


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config with the tiny model over four pictures of a square, and a checkpoint of drawn weights."""
    folder = tmp_path_factory.mktemp("tiny")
    path = write_config(folder)
    model = {**tiny_config(), "num_classes": 2}
    text = path.read_text().replace('model = dict(type="OneSquareModel", num_classes=2)', f"model = {model!r}")
    path.write_text(text)
    data = folder / "data"
    dataset = dict(type="CocoInstances", ann_file=str(data / "annotations.json"), data_prefix=dict(img=str(data)))
    steps = [dict(type="LoadImage"), dict(type="PackSample")]
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False))
    with path.open("a") as file:
        file.write(f"\ntest_dataloader = {dict(**loader, dataset={**dataset, 'pipeline': steps})!r}\n")
    torch.manual_seed(0)
    weights = MODELS.build(model)
    for parameter in weights.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=(2.0 / parameter[0].numel()) ** 0.5)
    torch.nn.init.constant_(weights.head.category_predictor.bias, -2.0)
    checkpoint = dict(state_dict=weights.state_dict(), meta=dict(dataset_meta=dict(classes=("dark", "bright"))))
    torch.save(checkpoint, folder / "weights.pth")
    return path, folder / "weights.pth"


def test_testing_with_views_evaluates_and_writes(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options: dict[str, Any] = dict(work_dir=str(tmp_path / "work"), out=str(results), show_dir=str(tmp_path / "shown"))
    metrics = run_test(str(tiny[0]), str(tiny[1]), tta=True, deployment=None, **options)
    assert set(metrics) >= {"coco/segm_mAP", "coco/bbox_mAP"}
    found = json.loads(results.read_text())
    assert {entry["image_id"] for entry in found} == {0, 1, 2, 3}
    assert found[0]["segmentation"]["size"] == [32, 32]
    assert len(list((tmp_path / "shown").glob("*.png"))) == 4


def test_deployed_test_finds_what_a_plain_one_finds(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    found = []
    for number, deployment in enumerate((DeploymentOptions(), DeploymentOptions(fold_norms=True), None)):
        out = tmp_path / f"{number}.json"
        run_test(str(tiny[0]), str(tiny[1]), work_dir=str(tmp_path / "work"), out=str(out), deployment=deployment)
        found.append(json.loads(out.read_text()))
    for entries in found[1:]:
        assert [entry["category_id"] for entry in entries] == [entry["category_id"] for entry in found[0]]
        scores = [[entry["score"] for entry in one] for one in (entries, found[0])]
        np.testing.assert_allclose(*scores, atol=1e-5)


def test_predictor_with_views(tiny: tuple[Path, Path]) -> None:
    predictor = SOLOPredictor(*tiny, device="cpu", tta=True)
    image = cv2.imread(str(tiny[0].parent / "data" / "0.png"))
    result, *_ = predictor([image, image[:24]])
    assert len(result) > 0
    assert result.to_bool().shape == (len(result), *image.shape[:2])
    np.testing.assert_array_equal(predictor(image).scores, result.scores)


def test_predictor_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a model like SOLOv2"):
        SOLOPredictor(write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth"), device="cpu", tta=True)
