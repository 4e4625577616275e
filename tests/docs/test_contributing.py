"""The worked examples of CONTRIBUTING.md run: each config trains a step with the class that the example adds."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from solo.config import load_config
from solo.datasets import ensure_shapes
from solo.errors import DataError
from solo.registry import DATASETS, MODELS, TRANSFORMS
from tests.helpers.pages import described_files
from tests.helpers.paths import CONFIGS, ROOT

FILES = described_files(ROOT / "CONTRIBUTING.md")
EXAMPLES = {name: text for name, text in FILES.items() if name.startswith("configs/")}
SHAPES = dict(num_train=4, num_val=2)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the configs and every file that the page describes, some shapes, and label maps."""
    shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ensure_shapes(str(tmp_path / "data/shapes"), **SHAPES, image_size=160, seed=0)
    for split in ("train", "val"):
        write_label_maps(tmp_path / "data/my_data" / split)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]
    for name in {name for text in FILES.values() for name in defined_classes(text)}:
        for registry in (MODELS, DATASETS, TRANSFORMS):
            registry.module_dict.pop(name, None)


def write_label_maps(root: Path) -> None:
    for folder in ("images", "maps"):
        (root / folder).mkdir(parents=True)
    for index in range(2):
        labels = np.zeros((160, 160), np.uint8)
        labels[20:60, 30:90], labels[100:140, 10:50] = 1, 2
        labels[30:40, 40:60] = 0  # a hole
        cv2.imwrite(str(root / f"maps/{index}.png"), labels)
        cv2.imwrite(str(root / f"images/{index}.png"), np.repeat(labels[..., None] * 100, 3, axis=2))


def defined_classes(text: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)}


def added_class(config: str) -> str:
    """The class that the module of an example's config defines."""
    module = re.search(r'imports=\["(.+)"\]', config)
    assert module is not None
    (name,) = defined_classes(FILES[module[1].replace(".", "/") + ".py"])
    return name


@pytest.mark.parametrize("path", EXAMPLES)
def test_example_trains_a_step_with_the_added_class(project: Path, path: str) -> None:
    shapes = {f"{split}_dataloader.dataset.{key}": value for split in ("train", "val") for key, value in SHAPES.items()}
    is_shapes = "label_maps" not in path
    config = load_config(project / path, overrides=shapes if is_shapes else None)
    init_default_scope("solo")
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    used = {type(part).__name__ for part in (*model.modules(), *dataset.pipeline.transforms, dataset)}
    assert added_class(EXAMPLES[path]) in used
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    losses = model.train_step(pseudo_collate([dataset[0], dataset[1]]), wrapper)
    assert set(losses) == {"loss", "loss_cls", "loss_mask"}
    assert all(value.isfinite() for value in losses.values())


def test_label_maps_keep_holes_and_name_a_missing_map(project: Path) -> None:
    config = load_config(project / "configs/examples/label_maps.py")
    dataset = DATASETS.build(config.val_dataloader.dataset)
    assert [len(dataset.get_data_info(index)["instances"]) for index in range(2)] == [2, 2]
    (project / "data/my_data/train/maps/1.png").unlink()
    with pytest.raises(DataError, match=r"train/maps/1\.png"):
        DATASETS.build(config.train_dataloader.dataset)


def test_subcommand_counts_and_reports_a_mistake(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from solo.cli import SUBCOMMANDS, Subcommand, main

    monkeypatch.setitem(SUBCOMMANDS, "count", Subcommand("my_package.count", "count the objects of each class"))
    DATASETS.build(load_config(project / "configs/examples/label_maps.py").val_dataloader.dataset)
    assert main(["count", str(project / "data/my_data/val/annotations.json")]) == 0
    assert capsys.readouterr().out.split() == ["4", "cell"]
    assert main(["count", "missing.json"]) == 2
    assert "missing.json" in capsys.readouterr().err


def test_every_described_module_belongs_to_an_example() -> None:
    imported = {module for text in EXAMPLES.values() for module in re.findall(r'imports=\["(.+)"\]', text)}
    modules = {name.removesuffix(".py").replace("/", ".") for name in FILES if name not in EXAMPLES}
    assert modules == imported | {"my_package.count"}
