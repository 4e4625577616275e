"""Predict the instances of image files; write a visualisation of each and predictions.json."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from solo.checkpoints.hub import local_checkpoint
from solo.checkpoints.published import find_model
from solo.cli.options import (
    add_config_options,
    add_deployment_options,
    add_offline_option,
    parse_deployment,
    parse_runtime_options,
    set_offline,
)
from solo.cli.predicting import add_prediction_options, predict_images
from solo.cli.predicting_on_ray import add_ray_options, check_ray_options, predict_images_on_ray
from solo.cli.tile_options import add_tile_options, parse_tiles
from solo.config import config_files, load_config
from solo.engine.malloc import keep_freed_memory
from solo.errors import ConfigError
from solo.inference.predictor import SOLOPredictor
from solo.runtime.sessions import is_exported, model_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep mmdet's spelling where mmdet has them."""
    add_prediction_options(parser)
    parser.add_argument("--config", help="config file, or the name of one; an exported file needs none")
    parser.add_argument("--checkpoint", help="checkpoint, or exported file")
    parser.add_argument(
        "--model",
        help="in place of both: a folder that solo publish wrote, or the name of a model that comes with solo",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: merge several views of each image")
    add_tile_options(parser)
    add_deployment_options(parser, default="auto")
    add_offline_option(parser)
    add_config_options(parser)
    add_ray_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print a summary; the exit code is 1 if no image could be read, 143 after SIGTERM.

    Raises:
        ConfigError: a checkpoint has no config, or an exported file has options of one, or neither is given.
        CheckpointError: there is no such model.
    """
    keep_freed_memory()
    set_offline(arguments)
    if (arguments.checkpoint is None) == (arguments.model is None):
        raise ConfigError("expected --checkpoint, with --config unless the file is an exported one, or --model")
    if arguments.model is not None:
        if arguments.config is not None:
            raise ConfigError(f"--model {arguments.model} has a config of its own: leave --config out")
        arguments.config, arguments.checkpoint = map(str, find_model(arguments.model))
    check_ray_options(arguments)
    if arguments.ray is not None:
        return _run_on_ray(arguments)
    arguments.checkpoint = local_checkpoint(arguments.checkpoint)
    return predict_images(arguments, lambda: _open_predictor(arguments))


def _run_on_ray(arguments: argparse.Namespace) -> int:
    # The actors have other working folders.
    for name in ("config", "checkpoint"):
        path = getattr(arguments, name)
        if path is not None and os.path.exists(path):
            setattr(arguments, name, os.path.abspath(path))
    files = _model_files(
        argparse.Namespace(**{**vars(arguments), "checkpoint": local_checkpoint(arguments.checkpoint)})
    )
    sent = argparse.Namespace(**{**vars(arguments), "inputs": []})
    changes = ("cfg_options", "deploy", "tta", "tile", "overlap", "tile_scale")
    settings = {name: getattr(arguments, name) for name in changes}
    return predict_images_on_ray(
        arguments, open_model=functools.partial(_open_in_actor, sent), files=files, settings=settings
    )


def _open_in_actor(arguments: argparse.Namespace, device: str) -> tuple[SOLOPredictor, Sequence[Path | str]]:
    keep_freed_memory()
    set_offline(arguments)
    changed = dict(device=device, checkpoint=local_checkpoint(arguments.checkpoint))
    return _open_predictor(argparse.Namespace(**{**vars(arguments), **changed}))


def _model_files(arguments: argparse.Namespace) -> Sequence[Path | str]:
    """The files that a predictor is read from.

    Raises:
        ConfigError: a checkpoint has no config, or the config cannot be used.
    """
    if is_exported(arguments.checkpoint):
        return model_files(arguments.checkpoint)
    config = _load_config(arguments)
    return [*config_files(config.filename), arguments.checkpoint]


def _load_config(arguments: argparse.Namespace) -> Config:
    if arguments.config is None:
        raise ConfigError(f"checkpoint {arguments.checkpoint} needs --config; only exported files need none")
    return load_config(arguments.config, overrides=arguments.cfg_options)


def _open_predictor(arguments: argparse.Namespace) -> tuple[SOLOPredictor, Sequence[Path | str]]:
    device = None if arguments.device == "auto" else arguments.device
    if is_exported(arguments.checkpoint):
        if arguments.cfg_options:
            raise ConfigError(f"--cfg-options change nothing in the exported file {arguments.checkpoint}")
        options = parse_runtime_options(arguments.deploy)
        predictor = SOLOPredictor(
            arguments.checkpoint, device=device, tta=arguments.tta, deployment=options, **parse_tiles(arguments)
        )
        return predictor, model_files(arguments.checkpoint)
    config = _load_config(arguments)
    predictor = SOLOPredictor(
        config,
        arguments.checkpoint,
        device=device,
        tta=arguments.tta,
        deployment=parse_deployment(arguments.deploy),
        **parse_tiles(arguments),
    )
    return predictor, [*config_files(config.filename), arguments.checkpoint]
