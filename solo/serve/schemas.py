"""What the API answers, as it stands in its OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Why a request was refused, in one line."""

    detail: str


class ImageSize(BaseModel):
    """The image, after its EXIF orientation was applied."""

    name: str = Field(description="last part of the file name that was sent")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")


class RLE(BaseModel):
    """A mask in COCO's compressed run-length encoding."""

    size: list[int] = Field(description="height and width, pixels")
    counts: str


class Ring(BaseModel):
    """A closed polygon along the edges of pixels: pixel (x, y) covers [x, x + 1] x [y, y + 1]."""

    points: list[list[int]] = Field(description="corners x, y; the last one joins the first")
    is_hole: bool


class Instance(BaseModel):
    """An object."""

    label: str = Field(description="class name")
    label_id: int = Field(description="index into the model's classes")
    score: float
    box: list[float] = Field(description="x1, y1, x2, y2, pixels; x2 and y2 are exclusive")
    area: int = Field(description="pixels of the mask")
    polygons: list[Ring] | None = Field(None, description="with format=polygons: outer rings and holes, without loss")
    rle: RLE | None = Field(None, description="with format=rle")


class Result(BaseModel):
    """Instances of an image, by descending score, with format=polygons or format=rle."""

    image: ImageSize
    model: str
    seconds: dict[str, float] = Field(description="by stage: read, wait, network, decode")
    instances: list[Instance]


class ModelInfo(BaseModel):
    """A model that the server runs."""

    name: str
    classes: list[str]
    device: str
    export: dict[str, Any] | None = Field(description="metadata of an exported file; null for a checkpoint")


class Limits(BaseModel):
    """What the server accepts."""

    max_upload_bytes: int
    max_pixels: int
    max_requests: int
    timeout: float = Field(description="seconds")


class Metadata(BaseModel):
    """The server, its models and its limits."""

    version: str
    models: list[ModelInfo]
    limits: Limits
    lowest_score: float = Field(description="lowest score that is sent")


class Health(BaseModel):
    """The server runs."""

    status: str
    requests: int = Field(description="requests that are received, wait or run")
