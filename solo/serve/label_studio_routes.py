"""The routes of a machine learning backend of Label Studio, below /label-studio."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from solo import __version__
from solo.errors import DataError, printable
from solo.serve.jobs import JobQueue, checked
from solo.serve.label_studio import (
    Control,
    ImageSource,
    parse_control,
    parse_request,
    to_prediction,
    unmatched_classes,
)
from solo.serve.limits import ServerLimits
from solo.serve.models import ServedModel
from solo.serve.uploads import Upload, decode_upload, read_body

_LOGGER = logging.getLogger(__name__)


def add_label_studio(
    app: FastAPI,
    *,
    model: ServedModel,
    limits: ServerLimits,
    queue: JobQueue,
    source: ImageSource,
    score_thr: float,
) -> None:
    """Add the routes to an application.

    Args:
        app: the application.
        model: predicts the tasks.
        limits: also hold for the images of a request together.
        queue: runs the model.
        source: where images come from.
        score_thr: lowest score that is sent.
    """

    @app.get("/label-studio/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        return dict(status="UP", model_class="solo", version=__version__)

    @app.post("/label-studio/setup", include_in_schema=False)
    async def setup(request: Request) -> dict[str, Any]:
        """A project is connected: say which classes it has no label for."""
        body = await read_body(request, max_bytes=limits.max_upload_bytes)
        try:
            content = json.loads(body)
            control = parse_control(str(content.get("schema") or content.get("label_config") or ""))
        except DataError as error:
            raise HTTPException(422, printable(str(error))) from None
        except (ValueError, AttributeError, RecursionError):
            raise HTTPException(400, "expected the JSON of Label Studio") from None
        left_out = unmatched_classes(model.classes, control)
        if left_out:
            _LOGGER.warning("the project in Label Studio has no label for %s", printable(", ".join(left_out)))
        return dict(model_version=model.name, classes_without_label=left_out)

    @app.post("/label-studio/predict", include_in_schema=False, response_model=None)
    async def predict(request: Request) -> Response:
        def work(received: tuple[Control, list[Upload]]) -> Response:
            control, uploads = received
            return checked(
                lambda: JSONResponse(
                    dict(results=[_predict(model, upload, control, limits, score_thr) for upload in uploads])
                )
            )

        return await queue.run(_receive(request, limits=limits, source=source), work)


async def _receive(request: Request, *, limits: ServerLimits, source: ImageSource) -> tuple[Control, list[Upload]]:
    """The images of a request, named by their tasks; together at most `limits.max_upload_bytes`."""
    body = await read_body(request, max_bytes=limits.max_upload_bytes)
    uploads: list[Upload] = []
    left = limits.max_upload_bytes
    task = ""
    try:
        control, tasks = parse_request(body)
        for task, location in tasks:
            content = await asyncio.to_thread(source.fetch, location, max_bytes=left)
            left -= len(content)
            uploads.append(Upload(f"of task {task}", content))
    except DataError as error:
        raise HTTPException(422, printable(f"task {task}: {error}" if task else str(error))) from None
    return control, uploads


def _predict(
    model: ServedModel, upload: Upload, control: Control, limits: ServerLimits, score_thr: float
) -> dict[str, Any]:
    image = decode_upload(upload, max_pixels=limits.max_pixels, pixels=model.pixel_format)
    found = model(image).instances
    return to_prediction(found[found.scores >= score_thr], control, model_version=model.name)
