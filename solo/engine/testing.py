"""Evaluate a model from a config: the function behind `solo test`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from solo.checkpoints import load_checkpoint
from solo.checkpoints.fitting import check_preprocessing
from solo.checkpoints.hub import local_checkpoint
from solo.compat import build_errors
from solo.config import config_files, load_config
from solo.config.overrides import (
    add_hook,
    encode_masks_for_evaluation,
    require_parts,
    set_metric_options,
)
from solo.config.tiles import use_tiles
from solo.deployment import DeploymentOptions
from solo.engine.data_loader import image_paths, inner_datasets
from solo.engine.distributed import process_group, restart_count
from solo.engine.evaluation_record import record_evaluation
from solo.engine.exported_network import ExportedNetwork, use_exported
from solo.engine.runner import build_runner, make_work_dir
from solo.errors import ConfigError
from solo.evaluation.report import check_report
from solo.inference.tta.config import use_tta
from solo.output_files import check_outputs, inputs_within, make_folder
from solo.runtime.sessions import RuntimeOptions, is_exported, model_files

AS_TRAINED = DeploymentOptions()


def test(
    config_path: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    show_dir: str | None = None,
    show_score_thr: float = 0.3,
    max_images: int | None = None,
    classwise: bool = False,
    boundary: bool = False,
    report: str | None = None,
    resume: bool = False,
    tta: bool = False,
    tile: int | None = None,
    overlap: float | None = None,
    tile_scale: float | Sequence[int] | None = None,
    deployment: DeploymentOptions | RuntimeOptions | None = AS_TRAINED,
    overrides: Mapping[str, Any] | None = None,
    launcher: str = "none",
) -> dict[str, float]:
    """Evaluate a checkpoint, or an exported file, on the test split of a config.

    Args:
        config_path: the config file, or the name of a config that comes with solo.
        checkpoint: the weights, or an exported file, which takes the place of the config's model.
        work_dir: folder of the log and of the detections on disk; by default the config's, else
            `./work_dirs/<config name>`.
        out: file for the detections in COCO's results format (json).
        overwrite: replace a file that exists by `out`, and files in `show_dir` that no earlier test wrote.
        show_dir: folder for visualisations of the predictions.
        show_score_thr: lowest score of a drawn instance.
        max_images: maximum number of visualisations; None for all images.
        classwise: also report the AP of every class.
        boundary: also report boundary AP, see `solo.evaluation.boundary`.
        report: folder for a report of what is wrong, see `solo.evaluation.report`.
        resume: resume an interrupted evaluation of the work folder (the default in a restart by torchrun); images
            whose detections are on disk are neither loaded nor predicted.
        tta: test-time augmentation: the config's `tta_pipeline`, or scales and flips of its test pipeline.
        tile: side of the tiles that images are cut into, pixels; 0 for whole images, None for the config's
            `model.tiles`.
        overlap: of the tiles, see `solo.tiles.Tiles`; None for the config's.
        tile_scale: `scale` of the tiles, likewise.
        deployment: how the network is run; None for the recommended options of the device, or for the defaults of
            an exported file, which takes `RuntimeOptions`.
        overrides: config values by dotted key.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Returns:
        The metrics, such as `coco/segm_mAP`.

    Raises:
        UserError: config, data or checkpoint cannot be used, or they differ from those of the resumed evaluation.
    """
    checkpoint = local_checkpoint(checkpoint)
    config = load_config(config_path, overrides=overrides)
    require_parts(config, ("model", "test_dataloader", "test_cfg", "test_evaluator"), config_path=config_path)
    tiles = use_tiles(config, size=tile, overlap=overlap, scale=tile_scale)
    if tta and tiles is not None:
        raise ConfigError("test-time augmentation predicts whole images; with --tta use --tile 0")
    weights = _set_tested_model(config, checkpoint, deployment=deployment, tta=tta)
    config.work_dir = make_work_dir(config, config_path, work_dir)
    config.resume = False
    title = f"{Path(checkpoint).name} of {config_path}"
    report_options = None if report is None else dict(folder=str(report), title=title)
    set_metric_options(config, out=out, classwise=classwise, boundary=boundary, report=report_options)
    inputs = [*config_files(config.filename), *map(str, weights)]  # strings: the config with its hooks is dumped
    if out is not None:
        make_folder(Path(out).parent, option="--out")
        check_outputs([out], overwrite=overwrite, inputs=inputs, allow_streams=True)
    if report is not None:
        make_folder(report, option="--report")
        check_report(report, overwrite=overwrite)
    if show_dir is not None:
        make_folder(show_dir, option="--show-dir")
        options = dict(show_dir=show_dir, score_thr=show_score_thr, max_images=max_images)
        add_hook(config, "VisualizationHook", **options, overwrite=overwrite, inputs=inputs)
    encode_masks_for_evaluation(config)
    if tta:
        use_tta(config)
    with process_group(config, launcher), build_errors():
        runner = build_runner(config, config_path)
        if out is not None:
            check_outputs(
                [out], overwrite=True, inputs=_data_files(runner, folder=Path(out).parent), allow_streams=True
            )
        record_evaluation(runner, weights=weights, resume=resume or restart_count() > 0)
        if isinstance(runner.model, ExportedNetwork):  # a checkpoint does it when it is loaded
            names = {"meta": {"dataset_meta": {"classes": runner.model.classes}}}
            runner.call_hook("after_load_checkpoint", checkpoint=names)
        return runner.test()


def _set_tested_model(
    config: Config, checkpoint: str, *, deployment: DeploymentOptions | RuntimeOptions | None, tta: bool
) -> list[Path]:
    """Let a config test a checkpoint or an exported file; returns the files of its weights.

    Fails before data and model are built.
    """
    if is_exported(checkpoint):
        options = None if deployment == AS_TRAINED else deployment
        if tta or isinstance(options, DeploymentOptions):
            raise ConfigError(f"{checkpoint}: an exported file has neither test-time augmentation nor {options}")
        files = model_files(checkpoint)
        use_exported(config, checkpoint, options)
        config.load_from = None
        return files
    if isinstance(deployment, RuntimeOptions):
        raise ConfigError(f"{checkpoint}: a checkpoint is run with solo.deployment.DeploymentOptions, got {deployment}")
    check_preprocessing(load_checkpoint(checkpoint), config, source=f"checkpoint {checkpoint}")
    config.load_from = checkpoint
    if deployment != AS_TRAINED:
        add_hook(config, "DeploymentHook", options=None if deployment is None else asdict(deployment))
    return [Path(checkpoint)]


def _data_files(runner: Runner, *, folder: Path) -> list[str | Path]:
    """The annotation files of a test, and its images as far as they lie in a folder."""
    loop = runner.test_loop
    parts = (*inner_datasets(loop.dataloader.dataset), *loop.evaluator.metrics)
    annotations = [str(part.ann_file) for part in parts if getattr(part, "ann_file", None)]
    return [*annotations, *inputs_within(folder, image_paths(loop.dataloader.dataset))]
