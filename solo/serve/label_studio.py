"""Pre-labelling in Label Studio: the requests and results of its machine learning backends.

Label Studio posts tasks, whose images are URLs, and the labelling configuration of the project. Results are regions of
the first of brush, polygon and rectangle labels that the configuration has.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes, urljoin, urlsplit
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from solo.errors import ConfigError, DataError, printable
from solo.inference.instances import Instances
from solo.masks.rle import decode_windows

CONTROL_TAGS = ("BrushLabels", "PolygonLabels", "RectangleLabels")
"""Of a labelling configuration, best first: brushes hold masks whole, polygons lose holes, rectangles the masks."""

MAX_TASKS = 100
_RUN_BITS = np.array([3, 4, 8, 16])
_VALUE_BITS = 8
_MAX_RUN = 2**16
_CHANNELS = 4  # a brush is an RGBA image whose channels are equal


class Control(NamedTuple):
    """The control tag that regions are made for."""

    kind: str  # one of CONTROL_TAGS
    name: str
    image_name: str
    data_key: str  # of the task's data, for the image's URL
    labels: dict[str, str]  # class name in lower case -> label of the project


def parse_control(label_config: str) -> Control:
    """Find the control tag of a labelling configuration.

    Raises:
        DataError: it is no XML, or has no image with one of `CONTROL_TAGS`.
    """
    if "<!" in label_config.replace("<!--", ""):
        raise DataError("label_config: expected XML without a document type")
    try:
        root = ElementTree.fromstring(label_config)
    except ElementTree.ParseError as error:
        raise DataError(f"label_config: expected XML ({error})") from None
    images = {tag.get("name", ""): tag.get("value", "") for tag in root.iter("Image")}
    for kind in CONTROL_TAGS:
        for tag in root.iter(kind):
            target = tag.get("toName", "")
            if images.get(target, "").startswith("$"):
                return Control(kind, tag.get("name", ""), target, images[target][1:], _labels(tag))
    raise DataError(f"label_config: expected one of {', '.join(CONTROL_TAGS)} for an Image whose value is $KEY")


def _labels(tag: ElementTree.Element) -> dict[str, str]:
    labels: dict[str, str] = {}
    for label in tag.iter("Label"):
        value = label.get("value", "")
        # `predicted_values` is how Label Studio names the classes of models that stand for a label.
        for name in (value, *label.get("predicted_values", "").split(",")):
            if name.strip():
                labels.setdefault(name.strip().lower(), value)
    return labels


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to any address."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class ImageSource:
    """Where images of tasks come from: one Label Studio, and data in the task itself. No other address is asked.

    Attributes:
        url: of Label Studio, such as "http://localhost:8080"; None for data in the tasks alone.
        token: an access token of Label Studio, personal (JSON web token) or legacy.
        timeout: seconds for one answer.

    Raises:
        ConfigError: the URL is none of http or https.
    """

    url: str | None = None
    token: str | None = None
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.url is not None and (
            urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc
        ):
            raise ConfigError(f"--label-studio-url {printable(self.url)}: expected http://HOST or https://HOST")

    def fetch(self, location: str, *, max_bytes: int) -> bytes:
        """The bytes of an image.

        Args:
            location: of the task's data: a path or URL at Label Studio, or a data: URL.
            max_bytes: more are refused.

        Raises:
            DataError: the location is another one, or cannot be read.
        """
        if location.startswith("data:"):
            return _inline(location, max_bytes=max_bytes)
        if self.url is None:
            raise DataError("its image is a URL; solo serve --label-studio-url names the server to fetch it from")
        try:
            address = urljoin(f"{self.url.rstrip('/')}/", location)
            is_own = urlsplit(address)[:2] == urlsplit(self.url)[:2]
        except ValueError:
            is_own = False
        if not is_own:
            raise DataError(
                f"its image {printable(location)[:200]} is not at {self.url}, the only server that is asked"
            )
        try:
            return self._read(address, max_bytes=max_bytes)
        except (OSError, ValueError) as error:  # also those of urllib
            reason = printable(str(getattr(error, "reason", error)))
            raise DataError(f"its image {printable(location)[:200]} cannot be fetched: {reason}") from None

    def _read(self, address: str, *, max_bytes: int) -> bytes:
        request = urllib.request.Request(address, headers=self._authorization())
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.timeout) as answer:
            content: bytes = answer.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        return content

    def _authorization(self) -> dict[str, str]:
        """Personal tokens are exchanged for one that lasts minutes; legacy ones are sent as they are."""
        if self.token is None or self.url is None:
            return {}
        if self.token.count(".") != 2:
            return {"Authorization": f"Token {self.token}"}
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/api/token/refresh",
            data=json.dumps({"refresh": self.token}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.timeout) as answer:
            return {"Authorization": f"Bearer {json.loads(answer.read(2**16))['access']}"}


def _inline(location: str, *, max_bytes: int) -> bytes:
    head, _, text = location.partition(",")
    try:
        content = base64.b64decode(text, validate=True) if head.endswith(";base64") else unquote_to_bytes(text)
    except (binascii.Error, ValueError):
        raise DataError("its data: URL is damaged") from None
    if len(content) > max_bytes:
        raise DataError(f"its image has more than {max_bytes} bytes")
    return content


def parse_request(body: bytes) -> tuple[Control, list[tuple[str, str]]]:
    """Read a request: the control tag, and of each task its id and the location of its image.

    Raises:
        DataError: the request is not one of Label Studio.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise DataError("expected the JSON of Label Studio") from None
    tasks = content.get("tasks") if isinstance(content, Mapping) else None
    if not isinstance(tasks, list) or not isinstance(content.get("label_config"), str):
        raise DataError("expected the keys tasks (a list) and label_config (a text)")
    if len(tasks) > MAX_TASKS:
        raise DataError(f"expected at most {MAX_TASKS} tasks, got {len(tasks)}")
    control = parse_control(content["label_config"])
    return control, [_parse_task(task, control.data_key) for task in tasks]


def _parse_task(task: Any, key: str) -> tuple[str, str]:
    data = task.get("data") if isinstance(task, Mapping) else None
    location = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(location, str):
        raise DataError(f"a task has no image: expected a text as data.{printable(key)}")
    return printable(str(task.get("id", "")))[:40], location


def to_prediction(instances: Instances, control: Control, *, model_version: str) -> dict[str, Any]:
    """One prediction of Label Studio: regions of the instances whose class the project has.

    Returns:
        result, score (the mean of the regions'), model_version.
    """
    names = [control.labels.get(instances.classes[label].lower()) for label in instances.labels.tolist()]
    kept = instances[np.array([name is not None for name in names], bool)]
    labels = [name for name in names if name is not None]
    height, width = instances.image_size
    regions = []
    for label, score, value in zip(labels, kept.scores.tolist(), _values(kept, control.kind), strict=True):
        for part in value:
            regions.append(
                dict(
                    id=secrets.token_urlsafe(8),
                    from_name=control.name,
                    to_name=control.image_name,
                    type=control.kind.lower(),
                    original_width=width,
                    original_height=height,
                    image_rotation=0,
                    score=score,
                    value={**part, control.kind.lower(): [label]},
                )
            )
    score = float(kept.scores.mean()) if len(kept) else 0.0
    return dict(result=regions, score=score, model_version=model_version)


def _values(instances: Instances, kind: str) -> Iterator[list[dict[str, Any]]]:
    """The values of the regions of each instance: one, or for polygons one a part."""
    height, width = instances.image_size
    if kind == "BrushLabels":
        for left, pixels in decode_windows(instances.rles, size=instances.image_size):
            yield [dict(format="rle", rle=encode_brush(pixels, left=left, width=width))]
    elif kind == "PolygonLabels":
        percent = np.array([100 / width, 100 / height])
        for rings in instances.polygons():
            outer = [ring.points * percent for ring in rings if not ring.is_hole]
            yield [dict(points=points.round(4).tolist(), closed=True) for points in outer]
    else:
        percent = np.array([100 / width, 100 / height] * 2)
        for x1, y1, x2, y2 in (instances.boxes * percent).round(4).tolist():
            yield [dict(x=x1, y=y1, width=x2 - x1, height=y2 - y1, rotation=0)]


def encode_brush(pixels: npt.NDArray[np.bool_], *, left: int, width: int) -> list[int]:
    """Encode a mask in the run-length encoding of Label Studio's brushes (the package `rle-pack`).

    The values 0 and 255 of an RGBA image, row by row: a header, then for each run a bit 1, two bits that select the
    number of bits of the length, the length minus one, and the value.

    Args:
        pixels: (H, w) columns of the mask from `left` on; the others are empty.
        left: index of the first column.
        width: W of the image.

    Returns:
        Bytes as integers.
    """
    height = pixels.shape[0]
    edges = np.diff(np.pad(pixels, ((0, 0), (1, 1))).astype(np.int8), axis=1)  # (H, w + 1)
    rows, columns = np.nonzero(edges)
    borders = (rows * width + left + columns).reshape(-1, 2)  # start and stop of each run of a row
    is_joined = borders[1:, 0] == borders[:-1, 1]  # to the end of a row, and on from the start of the next
    starts = borders[np.r_[True, ~is_joined][: len(borders)], 0]
    stops = borders[np.r_[~is_joined, True][: len(borders)], 1]
    changes = np.concatenate([[0], np.stack([starts, stops], 1).ravel(), [height * width]])
    lengths = np.diff(changes) * _CHANNELS
    values = np.arange(len(lengths)) % 2 * 255
    return _pack_runs(lengths, values, count=height * width * _CHANNELS)


def _pack_runs(lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64], *, count: int) -> list[int]:
    pieces = -(-lengths // _MAX_RUN)  # runs that one code cannot hold are several
    last = pieces.cumsum() - 1
    split = np.full(pieces.sum(), _MAX_RUN)
    split[last[pieces > 0]] = (lengths - (pieces - 1) * _MAX_RUN)[pieces > 0]
    kinds = np.searchsorted(1 << _RUN_BITS, split)  # the fewest bits that hold the length minus one
    bits = _RUN_BITS[kinds]
    codes = (((1 << 2 | kinds) << bits) | (split - 1)) << _VALUE_BITS | values.repeat(pieces)
    header = (count << 5 | _VALUE_BITS - 1) << 16 | int("".join(f"{size - 1:x}" for size in _RUN_BITS.tolist()), 16)
    numbers = np.concatenate([[header], codes])
    widths = np.concatenate([[32 + 5 + 16], 1 + 2 + bits + _VALUE_BITS])
    ends = widths.cumsum()
    shifts = ends.repeat(widths) - 1 - np.arange(ends[-1])
    packed: list[int] = np.packbits((numbers.repeat(widths) >> shifts & 1).astype(np.uint8)).tolist()
    return packed


def unmatched_classes(classes: Sequence[str], control: Control) -> list[str]:
    """Classes of a model that a project has no label for; their instances are left out."""
    return [name for name in classes if name.lower() not in control.labels]
