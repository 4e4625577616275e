from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from solo.engine.hooks import ValidationLossHook
from solo.engine.hooks.curves import TrainingRecords, _iteration
from solo.engine.hooks.validation_loss import loss_loader
from solo.errors import ConfigError
from tests.helpers.coco_files import TRAIN, annotation, content, write
from tests.helpers.tiny_model import build_tiny

TEST = [dict(type="LoadImage"), dict(type="mmdet.Resize", scale=(48, 32), keep_ratio=True), dict(type="PackSample")]


def loader(folder: Path, **options: Any) -> ConfigDict:
    dataset = dict(type="CocoInstances", data_root=str(folder), ann_file="annotations.json", test_mode=True, **options)
    sampler = dict(type="DefaultSampler", shuffle=False)
    return ConfigDict(batch_size=2, num_workers=0, sampler=sampler, dataset=dataset)


def test_loss_of_the_validation_images(tmp_path: Path) -> None:
    """Three images, one without objects, in batches of two: the mean over the images of each batch's loss."""
    write(tmp_path, content([annotation(1, image_id=1), annotation(2, image_id=2)], num_images=3))
    model = build_tiny()
    hub = MessageHub("validation loss")
    runner: Any = SimpleNamespace(
        cfg=dict(val_dataloader=loader(tmp_path, pipeline=TEST)),
        seed=0,
        model=model,
        message_hub=hub,
        build_dataloader=Runner.build_dataloader,
    )
    hook = ValidationLossHook()
    hook.before_train(runner)
    values = []
    for _ in range(2):
        hook.before_val_epoch(runner)
        values.append(hub.get_scalar("val/val_loss").mean(50))
    assert values[0] == values[1] and len(hub.get_scalar("val/val_loss").data[0]) == 1
    losses = []
    with torch.no_grad():
        for batch in hook._loader:
            data = model.data_preprocessor(batch, False)
            losses += [float(model.parse_losses(model(**data, mode="loss"))[0])] * len(data["data_samples"])
    assert len(losses) == 3 and values[0] == pytest.approx(sum(losses) / 3)
    assert hub.get_scalar("val/val_loss_mask").current() > 0


def test_annotations_are_loaded_once(tmp_path: Path) -> None:
    names = [step["type"] for step in loss_loader(loader(tmp_path, pipeline=TEST)).dataset.pipeline]
    assert names == ["LoadImage", "LoadInstances", "mmdet.Resize", "PackSample"]
    assert len(loss_loader(loader(tmp_path, pipeline=TRAIN)).dataset.pipeline) == len(TRAIN)
    with pytest.raises(ConfigError, match="has no pipeline of its own"):
        loss_loader(None)


def test_place_in_the_curves() -> None:
    """A validation belongs to the last step of its epoch, or to its own iteration."""
    epochs = TrainingRecords(train=[dict(epoch=e, iter=i, loss=1) for e, i in ((1, 5), (1, 10), (2, 15))])
    assert _iteration(epochs, dict(step=1)) == 10
    assert _iteration(TrainingRecords(train=[dict(iter=5, loss=1)]), dict(step=7)) == 7
