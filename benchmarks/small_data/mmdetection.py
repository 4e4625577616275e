"""mmdetection's own SOLOv2, trained by mmengine with the network, data and schedule of a config of solo."""

from __future__ import annotations

import argparse
import copy
import json
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from benchmarks.mmdet_reference import mmdet_config, mmdet_pipeline
from benchmarks.small_data.results import (
    Detections,
    detections_of_bitmaps,
    prediction_options,
    write_predictions,
)
from solo.config import load_config
from solo.registry import MODELS


def reference_config(path: str, *, epochs: int, seed: int, folder: Path) -> Config:
    """The config with which mmengine trains mmdet's detector.

    Args:
        path: config of solo, for whole images.
        epochs: length of the training; the schedule ends with it.
        seed: of the training.
        folder: for checkpoints and logs.
    """
    ours = load_config(path)
    model = copy.deepcopy(ours.model)
    strides = model.head.feature_strides
    # Its head resizes the last map to the one before, whatever the config says.
    model.grid.strides = [2 * strides[0], *strides[1:-1], strides[-2]]
    source = ours.train_dataloader.dataset
    dataset = dict(
        type="mmdet.CocoDataset",
        data_root=source.data_root,
        ann_file=source.ann_file,
        data_prefix=source.data_prefix,
        metainfo=dict(classes=_class_names(source)),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=mmdet_pipeline(source.pipeline),
    )
    warmup, decay = copy.deepcopy(ours.param_scheduler)
    loader = dict(batch_size=ours.train_dataloader.batch_size, num_workers=0, sampler=dict(type="DefaultSampler"))
    return Config(
        dict(
            default_scope="solo",
            model=dict(mmdet_config(model), _scope_="mmdet"),
            work_dir=str(folder),
            train_dataloader=dict(**loader, collate_fn=dict(type="pseudo_collate"), dataset=dataset),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=ours.optim_wrapper,
            param_scheduler=[warmup, dict(decay, end=epochs, T_max=epochs)],
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=epochs)),
            randomness=dict(seed=seed),
            test_pipeline=mmdet_pipeline(ours.test_dataloader.dataset.pipeline),
        )
    )


def _class_names(dataset: Any) -> tuple[str, ...]:
    content = json.loads(Path(dataset.data_root, dataset.ann_file).read_text())
    return tuple(category["name"] for category in content["categories"])


def train(arguments: argparse.Namespace) -> None:
    """Train on one thread."""
    config = reference_config(arguments.config, epochs=arguments.epochs, seed=arguments.seed, folder=arguments.folder)
    Runner.from_cfg(config).train()


def predict(arguments: argparse.Namespace) -> None:
    """Predict with the last checkpoint of a folder."""
    config = reference_config(arguments.config, epochs=1, seed=0, folder=arguments.folder)
    checkpoint = (arguments.folder / "last_checkpoint").read_text()
    with DefaultScope.overwrite_default_scope("solo"):
        detector = MODELS.build(config.model).eval()
        pipeline = Compose(config.test_pipeline)
    detector.load_state_dict(torch.load(checkpoint, weights_only=False)["state_dict"])

    @torch.no_grad()
    def predict_image(path: Path) -> Detections:
        sample = pipeline(dict(img_path=os.fspath(path), img_id=0))
        found = detector.test_step(pseudo_collate([sample]))[0].pred_instances
        return detections_of_bitmaps(found.labels.numpy(), found.scores.numpy(), found.masks.numpy())

    write_predictions(predict_image, arguments)


def main() -> None:
    """Train or predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("--epochs", type=int, default=24)
    training.add_argument("--seed", type=int, default=0)
    training.set_defaults(run=train)
    predicting = commands.add_parser("predict")
    prediction_options(predicting)
    predicting.set_defaults(run=predict)
    for command in (training, predicting):
        command.add_argument("config")
        command.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import mmdet.datasets
    import mmdet.models  # noqa: F401  (both register)

    arguments.run(arguments)


if __name__ == "__main__":
    main()
