"""Serve a model, or two to compare, as a web page and a REST API; loopback only by default."""
# Imports no torch: exported files are served without it.

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from solo.cli.options import add_config_options, add_deployment_options, parse_deployment, parse_runtime_options
from solo.cli.result_options import score
from solo.errors import ConfigError, UserError, printable
from solo.inference.predictor import SOLOPredictor, packages_of_checkpoints
from solo.runtime.sessions import is_exported

MEGABYTE = 2**20
TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"
_NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that `solo predict` has too have its spelling."""
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="exported file, published folder, or checkpoint; two are compared"
    )
    parser.add_argument(
        "--config",
        action="append",
        help="config file, or the name of one, for the checkpoints; given twice, for the first and the second",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port; 0 for any free one (default: %(default)s)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="name that a reverse proxy gives the server"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--max-upload", type=float, default=32, metavar="MB", help="of a request (default: 32)")
    parser.add_argument("--max-pixels", type=int, default=2**26, help="of an image (default: %(default)s)")
    parser.add_argument(
        "--max-requests", type=int, default=32, help="at once; further ones get 503 (default: %(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=60, help="seconds for a request (default: 60)")
    parser.add_argument(
        "--label-studio-url",
        metavar="URL",
        help="the Label Studio that images of its tasks are fetched from; its access token is in LABEL_STUDIO_API_KEY",
    )
    parser.add_argument(
        "--label-studio-score-thr", type=score, default=0.3, help="lowest score sent to it (default: %(default)s)"
    )
    add_deployment_options(parser, default="auto")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Open the models and serve them until Ctrl-C.

    Raises:
        UserError: a model does not load, the port is in use, or a package of the extra `serve` is missing.
    """
    try:
        import python_multipart  # noqa: F401  # Starlette asks for it when the first form arrives

        from solo.serve import application, label_studio, limits, models, running
    except ModuleNotFoundError as error:
        missing = _NEEDED.get((error.name or "").partition(".")[0])
        if missing is None:
            raise
        raise UserError(f'solo serve needs {missing}: pip install "solov2[serve]"') from None
    accepted = limits.ServerLimits(
        max_upload_bytes=int(arguments.max_upload * MEGABYTE),
        max_pixels=arguments.max_pixels,
        max_requests=arguments.max_requests,
        timeout=arguments.timeout,
    )
    images = label_studio.ImageSource(
        url=arguments.label_studio_url, token=os.environ.get(TOKEN_VARIABLE), timeout=accepted.timeout
    )
    if len(arguments.models) > 2:
        raise ConfigError(f"solo serve takes one model, or two to compare, got {len(arguments.models)}")
    opened = running.listen(arguments.host, arguments.port)
    with opened:
        predictors = _open_predictors(arguments)
        names = models.unique_names([printable(Path(path).name) for path in arguments.models])
        served = [models.ServedModel(*pair) for pair in zip(names, predictors, strict=True)]
        app = application.create_app(
            served,
            limits=accepted,
            hosts=running.allowed_hosts(arguments.host, arguments.allow_host),
            label_studio=images,
            label_studio_score_thr=arguments.label_studio_score_thr,
        )
        for model in served:
            count = len(model.classes)
            print(f"{model.name}: {count} {'class' if count == 1 else 'classes'}, on {model.device}")
        if len({frozenset(model.classes) for model in served}) > 1:
            print("the two models have different classes; the page filters the classes of both")
        print(f"page {running.url_of(opened)}   API {running.url_of(opened)}/docs   Ctrl-C stops", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after it has stopped
            running.run_app(app, opened)
        print("stopped")


def _open_predictors(arguments: argparse.Namespace) -> list[SOLOPredictor]:
    configs = list(arguments.config or [])
    checkpoints = [path for path in arguments.models if _needs_config(path)]
    if len(configs) not in ({1, len(checkpoints)} if checkpoints else {0}):
        expected = f"one --config, or one for each of {len(checkpoints)} checkpoints" if checkpoints else "no --config"
        raise ConfigError(f"expected {expected}, got {len(configs)}; exported files and published folders need none")
    if not checkpoints and arguments.cfg_options:
        raise ConfigError("--cfg-options change configs of checkpoints alone, and there is none")
    device = None if arguments.device == "auto" else arguments.device
    predictors: list[SOLOPredictor] = []
    for path in arguments.models:
        if is_exported(path):
            predictors.append(SOLOPredictor(path, device=device, deployment=parse_runtime_options(arguments.deploy)))
            continue
        with packages_of_checkpoints(path):
            from solo.config import load_config

            deployment = parse_deployment(arguments.deploy)
        if not _needs_config(path):
            predictors.append(SOLOPredictor(path, device=device, deployment=deployment))
            continue
        config = load_config(configs[0] if len(configs) == 1 else configs.pop(0), overrides=arguments.cfg_options)
        predictors.append(SOLOPredictor(config, path, device=device, deployment=deployment))
    return predictors


def _needs_config(path: str) -> bool:
    """Whether a model is a checkpoint alone: no exported file, and no folder of solo publish or name of one."""
    return not is_exported(path) and Path(path).suffix != ""
