"""The application: REST routes, the page that uses them, and the routes of Label Studio."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any, NamedTuple, TypeVar

import cv2
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from solo import __version__
from solo.errors import UserError, printable
from solo.serve.formats import Format, ImageInfo, to_content, to_png
from solo.serve.jobs import JobQueue, checked
from solo.serve.label_studio import ImageSource
from solo.serve.label_studio_routes import add_label_studio
from solo.serve.limits import LOWEST_SCORE, ServerLimits
from solo.serve.models import ServedModel, find_model
from solo.serve.protection import Protection
from solo.serve.schemas import Health, Metadata, Problem, Result
from solo.serve.uploads import Upload, decode_upload, read_upload

_IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the image or the form is damaged"},
    408: {"model": Problem, "description": "the request took too long to arrive"},
    413: {"model": Problem, "description": "the request has too many bytes, or the image too many pixels"},
    415: {"model": Problem, "description": "the body is no image of a supported format"},
    422: {"model": Problem, "description": "a parameter is wrong, or the model does not take the image"},
    503: {"model": Problem, "description": "the server is busy; the header Retry-After says when to try again"},
    504: {"model": Problem, "description": "there was no result in time"},
}
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
Output = TypeVar("Output")


class _Services(NamedTuple):
    """What the routes use."""

    models: Sequence[ServedModel]
    limits: ServerLimits
    queue: JobQueue

    async def run(self, request: Request, work: Callable[[Upload], Output]) -> Output:
        """Read the image of a request and compute with it in the queue, with errors as HTTP errors."""
        body = read_upload(request, max_bytes=self.limits.max_upload_bytes)
        return await self.queue.run(body, lambda upload: checked(lambda: work(upload)))


def create_app(
    models: Sequence[ServedModel],
    *,
    limits: ServerLimits | None = None,
    hosts: Collection[str] | None = None,
    label_studio: ImageSource | None = None,
    label_studio_score_thr: float = 0.3,
) -> FastAPI:
    """Build the application.

    Args:
        models: one model, or two that the page compares; their names differ.
        limits: what is accepted.
        hosts: names that requests may use for the server; None for all.
        label_studio: where images of Label Studio's tasks come from; None for images within the tasks alone.
        label_studio_score_thr: lowest score of what is sent to Label Studio.
    """
    limits = limits or ServerLimits()
    queue = JobQueue(max_requests=limits.max_requests, timeout=limits.timeout)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        queue.close()

    app = FastAPI(
        title="solo",
        version=__version__,
        description="Instance segmentation: an image in, its objects and their masks out.",
        docs_url=None,  # its page loads scripts from a CDN; /docs is one of ours
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Protection, hosts=hosts)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    services = _Services(models, limits, queue)
    _add_prediction(app, services)
    _add_information(app, services)
    add_label_studio(
        app,
        model=models[0],
        limits=limits,
        queue=queue,
        source=label_studio or ImageSource(),
        score_thr=label_studio_score_thr,
    )
    _add_pages(app)
    return app


def _add_prediction(app: FastAPI, services: _Services) -> None:
    limits = services.limits

    @app.post(
        "/predict",
        response_model=None,
        responses={200: {"model": Result, "content": {"image/png": {}}}, **_PROBLEMS},
        openapi_extra=_IMAGE_BODY,
    )
    async def predict(
        request: Request,
        format: Annotated[Format, Query(description="polygons, rle, coco (a COCO file), png (16-bit label map)")] = (
            "polygons"
        ),
        score_thr: Annotated[float, Query(ge=0, le=1, description="lowest score that is sent")] = LOWEST_SCORE,
        model: Annotated[str | None, Query(description="name of the model; the first one by default")] = None,
    ) -> Response:
        """Find the objects of an image: a file of a form, or the body itself."""
        try:
            served = find_model(services.models, model)
        except UserError as error:
            raise HTTPException(422, printable(str(error))) from None
        arrival = time.perf_counter()

        def work(upload: Upload) -> Response:
            return _predict(upload, served, limits=limits, form=format, score_thr=score_thr, arrival=arrival)

        return await services.run(request, work)

    @app.post(
        "/preview",
        response_model=None,
        responses={200: {"content": {"image/jpeg": {}}}, **_PROBLEMS},
        openapi_extra=_IMAGE_BODY,
    )
    async def preview(request: Request) -> Response:
        """Decode an image and send it as JPEG, for browsers that do not show its format."""

        def work(upload: Upload) -> Response:
            image = decode_upload(upload, max_pixels=limits.max_pixels)
            _, content = cv2.imencode(".jpg", image)
            return Response(content.tobytes(), media_type="image/jpeg")

        return await services.run(request, work)


def _predict(
    upload: Upload, served: ServedModel, *, limits: ServerLimits, form: Format, score_thr: float, arrival: float
) -> Response:
    start = time.perf_counter()
    image = decode_upload(upload, max_pixels=limits.max_pixels, pixels=served.pixel_format)
    read = time.perf_counter() - start
    found, network, decode = served(image)
    instances = found[found.scores >= score_thr]
    if form == "png":
        return Response(to_png(instances), media_type="image/png")
    seconds = dict(wait=start - arrival, read=read, network=network, decode=decode)
    info = ImageInfo(upload.name, served.name, {stage: round(value, 6) for stage, value in seconds.items()})
    return JSONResponse(to_content(instances, info, form=form))


def _add_information(app: FastAPI, services: _Services) -> None:
    @app.get("/healthz", response_model=Health)
    async def healthz() -> dict[str, Any]:
        """Whether the server runs; answered while models compute."""
        return dict(status="ok", requests=services.queue.active)

    @app.get("/metadata", response_model=Metadata)
    async def metadata() -> dict[str, Any]:
        """The models and their classes, and the limits."""
        models = [
            dict(
                name=model.name,
                classes=model.classes,
                device=model.device,
                export=None if model.metadata is None else dataclasses.asdict(model.metadata),
            )
            for model in services.models
        ]
        limits = dataclasses.asdict(services.limits)
        return dict(version=__version__, models=models, limits=limits, lowest_score=LOWEST_SCORE)


def _add_pages(app: FastAPI) -> None:
    """Serve the files of `static/`, read once: no path of a request is looked up on the disk."""
    files: dict[str, tuple[bytes, str]] = {}
    for file in resources.files("solo.serve").joinpath("static").iterdir():
        kind = _MEDIA_TYPES.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            files[file.name] = file.read_bytes(), kind
    pages = {"/": "index.html", "/docs": "docs.html"}
    pages.update({f"/static/{name}": name for name in files})
    for path, name in pages.items():
        app.add_api_route(path, _sender(*files[name]), methods=["GET"], include_in_schema=False)


def _sender(content: bytes, kind: str) -> Callable[[], Any]:
    async def send() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return send


async def _refuse_parameters(request: Request, error: Exception) -> JSONResponse:
    """One line instead of FastAPI's records."""
    first: Any = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    name = ".".join(str(part) for part in first.get("loc", ())[1:])
    return JSONResponse({"detail": printable(f"parameter {name}: {first.get('msg', 'wrong')}")}, 422)
