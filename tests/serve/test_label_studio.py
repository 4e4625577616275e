"""Label Studio: its configurations, its brushes, where images may come from, and the routes of a backend."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs solov2[serve]")
pytest.importorskip("python_multipart", reason="needs solov2[serve]")
httpx = pytest.importorskip("httpx", reason="needs httpx")

from solo.errors import ConfigError, DataError  # noqa: E402
from solo.serve.label_studio import ImageSource, encode_brush, parse_control  # noqa: E402
from solo.serve.limits import ServerLimits  # noqa: E402
from tests.helpers.brush_oracle import decode_brush  # noqa: E402
from tests.helpers.served import RingPredictor, image_file, running_server, served_app  # noqa: E402

LABELS = '<Label value="Cell"/><Label value="Rubbish" predicted_values="dust, dirt"/>'


def config(kind: str = "BrushLabels", labels: str = LABELS) -> str:
    return f'<View><Image name="picture" value="$photo"/><{kind} name="tag" toName="picture">{labels}</{kind}></View>'


def inline(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def request(*locations: str, label_config: str | None = None) -> dict[str, Any]:
    """What Label Studio posts to /predict, as recorded from its source."""
    tasks = [
        {
            "id": number,
            "data": {"photo": location},
            "meta": {},
            "project": 1,
            "annotations": [],
            "predictions": [],
            "is_labeled": False,
            "overlap": 1,
            "file_upload": None,
        }
        for number, location in enumerate(locations, start=7)
    ]
    return {
        "tasks": tasks,
        "model_version": "a.onnx",
        "project": "1.1764118800",
        "label_config": config() if label_config is None else label_config,
        "params": {"login": None, "password": None, "context": None},
    }


class TestBrushes:
    @pytest.mark.parametrize("seed", range(30))
    def test_decodes_to_the_mask(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        height, columns, left, right = generator.integers(1, 12, 4)
        width = int(left + columns + right) if seed % 3 else int(columns)
        left = left if seed % 3 else 0
        pixels = generator.random((height, columns)) < generator.choice([0.0, 0.2, 0.7, 1.0])
        mask = np.zeros((height, width), bool)
        mask[:, left : left + columns] = pixels
        found = decode_brush(encode_brush(pixels, left=int(left), width=width), height=int(height), width=width)
        np.testing.assert_array_equal(found, mask * 255)

    def test_runs_longer_than_one_code(self) -> None:
        pixels = np.ones((300, 700), bool)
        pixels[:, :2] = False
        content = encode_brush(pixels, left=0, width=700)
        np.testing.assert_array_equal(decode_brush(content, height=300, width=700), pixels * 255)

    def test_no_pixel(self) -> None:
        content = encode_brush(np.zeros((5, 0), bool), left=0, width=4)
        assert not decode_brush(content, height=5, width=4).any()

    def test_equals_what_label_studio_sdk_writes_and_reads(self) -> None:
        """Recorded: `label_studio_sdk.converter.brush.mask2rle` 1.0.12 of this mask; and the package where it is."""
        mask = np.zeros((4, 6), np.uint8)
        mask[1:3, 2:5] = 255
        mask[1, 3] = 0
        recorded = [0, 0, 0, 96, 57, 27, 254, 31, 0, 143, 254, 48, 8, 255, 237, 128, 91, 255, 195, 96, 0]
        assert encode_brush(mask > 0, left=0, width=6) == recorded
        np.testing.assert_array_equal(decode_brush(recorded, height=4, width=6), mask)
        brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="needs label-studio-sdk")
        assert brush.mask2rle(mask) == recorded
        generator = np.random.default_rng(0)
        many = np.repeat(np.repeat(generator.random((20, 30)) < 0.4, 5, axis=0), 4, axis=1)
        content = encode_brush(many, left=0, width=120)
        np.testing.assert_array_equal(brush.decode_rle(content).reshape(100, 120, 4)[..., 3], many * 255)


class TestConfigurations:
    def test_brushes_are_preferred_to_polygons_and_rectangles(self) -> None:
        image = '<Image name="i" value="$x"/>'
        tags = [f'<{kind} name="{kind}" toName="i"/>' for kind in ("RectangleLabels", "PolygonLabels", "BrushLabels")]
        for count, kind in ((3, "BrushLabels"), (2, "PolygonLabels"), (1, "RectangleLabels")):
            assert parse_control(f"<View>{image}{''.join(tags[:count])}</View>").kind == kind

    def test_labels_are_found_by_name_in_any_case_and_by_predicted_values(self) -> None:
        assert parse_control(config()).labels == {
            "cell": "Cell",
            "rubbish": "Rubbish",
            "dust": "Rubbish",
            "dirt": "Rubbish",
        }

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "<View>",
            '<View><Text name="t" value="$x"/><BrushLabels name="b" toName="t"/></View>',
            '<!DOCTYPE x [<!ENTITY a "aaaa">]><View>&a;</View>',
        ],
    )
    def test_other_texts_are_refused(self, text: str) -> None:
        with pytest.raises(DataError, match="label_config"):
            parse_control(text)


class _LabelStudio(BaseHTTPRequestHandler):
    """Serves an image to those who bring the token, a redirect, and personal tokens in exchange."""

    asked: list[str]
    image = image_file()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        allowed = self.headers["Authorization"] in ("Token legacy", "Bearer short")
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/secret")
            self.end_headers()
        else:
            self._answer(200 if allowed else 401, self.image)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_known = self.path == "/api/token/refresh" and body == {"refresh": "a.b.c"}
        self._answer(200 if is_known else 401, b'{"access": "short"}')

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def label_studio() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_LabelStudio,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


class TestSources:
    @pytest.mark.parametrize("token", ["legacy", "a.b.c"])
    def test_label_studio_is_asked_with_its_token(self, label_studio: tuple[str, list[str]], token: str) -> None:
        source = ImageSource(label_studio[0], token)
        for location in ("/data/upload/1/a.png", f"{label_studio[0]}/data/upload/1/a.png"):
            assert source.fetch(location, max_bytes=10**6) == _LabelStudio.image

    @pytest.mark.parametrize(
        "location",
        [
            "http://169.254.169.254/latest/meta-data",
            "//evil.example/a.png",
            "http://127.0.0.1@evil.example/a.png",
            "file:///etc/passwd",
            "s3://bucket/a.png",
            "https://127.0.0.1/a.png",
            "http://[",
        ],
    )
    def test_nothing_else_is_asked(self, label_studio: tuple[str, list[str]], location: str) -> None:
        with pytest.raises(DataError, match="the only server that is asked"):
            ImageSource(label_studio[0], "legacy").fetch(location, max_bytes=10**6)
        assert not label_studio[1]

    def test_redirects_sizes_and_refusals_are_errors(self, label_studio: tuple[str, list[str]]) -> None:
        source = ImageSource(label_studio[0], "legacy")
        with pytest.raises(DataError, match="cannot be fetched: Found"):
            source.fetch("/redirect", max_bytes=10**6)
        with pytest.raises(DataError, match="more than 10 bytes"):
            source.fetch("/data/a.png", max_bytes=10)
        with pytest.raises(DataError, match="Unauthorized"):
            ImageSource(label_studio[0], "wrong").fetch("/data/a.png", max_bytes=10**6)
        with pytest.raises(DataError, match="refused"):
            ImageSource("http://127.0.0.1:9").fetch("/data/a.png", max_bytes=10**6)

    def test_without_a_url_only_data_is_read(self) -> None:
        source = ImageSource()
        assert source.fetch(inline(b"abc"), max_bytes=3) == b"abc"
        assert source.fetch("data:,a%20b", max_bytes=3) == b"a b"
        with pytest.raises(DataError, match="--label-studio-url"):
            source.fetch("http://localhost/a.png", max_bytes=3)
        with pytest.raises(DataError, match="more than 2 bytes"):
            source.fetch(inline(b"abc"), max_bytes=2)
        with pytest.raises(DataError, match="damaged"):
            source.fetch("data:image/png;base64,%%%", max_bytes=3)

    @pytest.mark.parametrize("url", ["localhost:8080", "file:///etc", "http://"])
    def test_wrong_url(self, url: str) -> None:
        with pytest.raises(ConfigError, match="--label-studio-url"):
            ImageSource(url)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server(served_app(RingPredictor(), limits=ServerLimits(max_upload_bytes=100_000))) as url:
        yield f"{url}/label-studio"


class TestRoutes:
    def predict(self, url: str, kind: str, labels: str = LABELS) -> list[dict[str, Any]]:
        body = request(inline(image_file()), label_config=config(kind, labels))
        (result,) = httpx.post(f"{url}/predict", json=body).json()["results"]
        assert result["model_version"] == "a.onnx"
        for region in result["result"]:
            assert (region["from_name"], region["to_name"]) == ("tag", "picture")
            assert (region["original_width"], region["original_height"]) == (64, 48)
            assert region["type"] == kind.lower() and region["value"].keys() >= {kind.lower()}
        return list(result["result"])

    def test_health(self, url: str) -> None:
        assert httpx.get(f"{url}/health").json()["status"] == "UP"

    def test_setup_names_the_classes_without_label(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        body = {"project": "1.1", "schema": config(labels='<Label value="cell"/>'), "hostname": "http://evil.example"}
        with caplog.at_level(logging.WARNING, logger="solo.serve"):
            found = httpx.post(f"{url}/setup", json={**body, "access_token": "x", "extra_params": None}).json()
        assert found == {"model_version": "a.onnx", "classes_without_label": ["dust"]}
        assert "no label for dust" in caplog.text

    def test_brushes_hold_holes_and_parts(self, url: str) -> None:
        cell, dust = self.predict(url, "BrushLabels")
        assert (cell["value"]["brushlabels"], dust["value"]["brushlabels"]) == (["Cell"], ["Rubbish"])
        masks = [decode_brush(each["value"]["rle"], height=48, width=64) > 0 for each in (cell, dust)]
        assert [int(mask.sum()) for mask in masks] == [364, 96]
        assert not masks[0][12, 12] and masks[0][4, 4]
        assert (cell["score"], dust["score"]) == (pytest.approx(0.9), pytest.approx(0.4))

    def test_polygons_are_parts_in_percent(self, url: str) -> None:
        regions = self.predict(url, "PolygonLabels")
        assert [region["value"]["polygonlabels"] for region in regions] == [["Cell"], ["Rubbish"], ["Rubbish"]]
        assert sorted(regions[0]["value"]["points"]) == [[6.25, 8.3333], [6.25, 50], [37.5, 8.3333], [37.5, 50]]

    def test_rectangles_are_in_percent(self, url: str) -> None:
        value = self.predict(url, "RectangleLabels", '<Label value="cell"/>')[0]["value"]
        assert (value["x"], value["width"], value["height"]) == (6.25, 31.25, pytest.approx(41.6667, abs=1e-3))

    def test_classes_without_a_label_are_left_out(self, url: str) -> None:
        assert len(self.predict(url, "BrushLabels", '<Label value="CELL"/>')) == 1

    def test_results_are_predictions_of_the_sdk(self, url: str) -> None:
        objects = pytest.importorskip("label_studio_sdk.label_interface.objects", reason="needs label-studio-sdk")
        interface = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
        # It checks brushes as pairs of value and count, which its own encoder does not write either.
        for kind, is_checked in (("BrushLabels", False), ("PolygonLabels", True), ("RectangleLabels", True)):
            body = request(inline(image_file()), label_config=config(kind))
            (result,) = httpx.post(f"{url}/predict", json=body).json()["results"]
            assert objects.PredictionValue(**result).model_dump()["result"]
            assert not is_checked or interface.LabelInterface(body["label_config"]).validate_prediction(result)

    def test_bad_requests_are_one_line(self, url: str) -> None:
        def detail(**options: Any) -> str:
            answer = httpx.post(f"{url}/predict", **options)
            assert 400 <= answer.status_code < 500 and "\n" not in answer.json()["detail"]
            return str(answer.json()["detail"])

        assert "JSON" in detail(content=b"{")
        assert "JSON" in detail(content=b"[" * 50_000)
        assert "tasks" in detail(json=[])
        assert "task 7" in detail(json=request("http://evil.example/a.png"))
        assert "task 8" in detail(json=request(inline(image_file()), inline(b"nothing")))
        assert "data.photo" in detail(json={**request("x"), "tasks": [{"id": 1, "data": {}}]})
        assert "at most 100 tasks" in detail(json=request(*["x"] * 101))
        assert "100000 bytes" in detail(content=bytes(200_000))
        assert httpx.post(f"{url}/setup", content=b"[]").status_code == 400
