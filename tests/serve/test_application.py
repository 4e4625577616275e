"""The REST API: formats, limits, and what a request cannot do."""

from __future__ import annotations

import builtins
import io
import json
import logging
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

pytest.importorskip("fastapi", reason="needs solov2[serve]")
pytest.importorskip("python_multipart", reason="needs solov2[serve]")
httpx = pytest.importorskip("httpx", reason="needs httpx")

from solo.errors import ConfigError, DataError  # noqa: E402
from solo.serve.limits import ServerLimits  # noqa: E402
from solo.serve.running import run_app  # noqa: E402
from solo.serve.uploads import base_name  # noqa: E402
from tests.helpers.odd_files import png_bomb  # noqa: E402
from tests.helpers.served import RingPredictor, image_file, running_server, served_app  # noqa: E402

LIMITS = ServerLimits(max_upload_bytes=200_000, max_pixels=100_000, max_requests=2, timeout=5)


@pytest.fixture(scope="module")
def url() -> Any:
    with running_server(served_app(RingPredictor(), RingPredictor(classes=("nucleus",)), limits=LIMITS)) as url:
        yield url


def post(url: str, content: bytes | None = None, *, name: str = "photo.png", **options: Any) -> Any:
    files = {"image": (name, image_file() if content is None else content)}
    return httpx.post(f"{url}/predict", files=files, timeout=20, **options)


class TestFormats:
    def test_polygons_keep_holes_and_parts(self, url: str) -> None:
        found = post(url).json()
        assert found["image"] == dict(name="photo.png", width=64, height=48)
        assert found["model"] == "a.onnx"
        cell, dust = found["instances"]  # what is below 0.05 is not sent
        assert (cell["label"], cell["score"], cell["area"], cell["box"]) == ("cell", 0.9, 364, [4, 4, 24, 24])
        assert [ring["is_hole"] for ring in cell["polygons"]] == [False, True]
        assert sorted(cell["polygons"][1]["points"]) == [[10, 10], [10, 16], [16, 10], [16, 16]]
        assert [ring["is_hole"] for ring in dust["polygons"]] == [False, False]
        assert set(found["seconds"]) == {"wait", "read", "network", "decode"}

    def test_rle_is_that_of_coco(self, url: str) -> None:
        cell, _ = post(url, params=dict(format="rle")).json()["instances"]
        mask = coco_mask.decode(cell["rle"])
        assert mask.sum() == cell["area"] == 364
        assert (mask[4:24, 4:24].sum(), mask[12, 12]) == (364, 0)

    def test_coco_is_read_by_pycocotools(self, url: str) -> None:
        content = post(url, params=dict(format="coco")).json()
        assert content["images"] == [dict(id=1, file_name="photo.png", width=64, height=48)]
        assert [category["name"] for category in content["categories"]] == ["cell", "dust"]
        assert [coco_mask.area(each["segmentation"]) for each in content["annotations"]] == [364, 96]

    def test_png_numbers_the_instances(self, url: str) -> None:
        answer = post(url, params=dict(format="png"))
        assert answer.headers["content-type"] == "image/png"
        numbers = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert numbers.dtype == np.uint16
        assert np.bincount(numbers.ravel()).tolist() == [48 * 64 - 460, 364, 96]

    def test_the_body_may_be_the_image(self, url: str) -> None:
        for kind in ("image/png", "application/octet-stream", "application/x-www-form-urlencoded"):
            answer = httpx.post(f"{url}/predict", content=image_file(), headers={"content-type": kind})
            assert len(answer.json()["instances"]) == 2

    def test_score_and_model_are_chosen(self, url: str) -> None:
        assert len(post(url, params=dict(score_thr=0.5)).json()["instances"]) == 1
        assert len(post(url, params=dict(score_thr=0)).json()["instances"]) == 3
        found = post(url, params=dict(model="b.onnx")).json()
        assert (found["model"], found["instances"][0]["label"]) == ("b.onnx", "nucleus")

    def test_preview_is_a_jpeg_of_the_same_size(self, url: str) -> None:
        answer = httpx.post(f"{url}/preview", files={"image": image_file(suffix=".tiff")})
        pixels = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert (answer.headers["content-type"], pixels.shape) == ("image/jpeg", (48, 64, 3))


class TestInformation:
    def test_metadata_names_models_classes_and_limits(self, url: str) -> None:
        found = httpx.get(f"{url}/metadata").json()
        assert [model["classes"] for model in found["models"]] == [["cell", "dust"], ["nucleus"]]
        assert (found["limits"]["max_pixels"], found["lowest_score"]) == (100_000, 0.05)

    def test_health(self, url: str) -> None:
        assert httpx.get(f"{url}/healthz").json() == dict(status="ok", requests=0)

    def test_description_names_the_routes_and_the_body(self, url: str) -> None:
        description = httpx.get(f"{url}/openapi.json").json()
        assert {"/predict", "/healthz", "/metadata"} <= set(description["paths"])
        predict = description["paths"]["/predict"]["post"]
        assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
        assert {"413", "415", "503", "504"} <= set(predict["responses"])

    def test_pages_are_protected_and_need_no_other_host(self, url: str) -> None:
        answer = httpx.get(f"{url}/docs")
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "http" not in answer.text.replace("http-equiv", "")


def one_line(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and "\n" not in detail
    return detail


class TestBadInput:
    def test_damaged_image(self, url: str) -> None:
        assert "truncated" in one_line(post(url, image_file()[:-40]), 400)

    def test_no_image(self, url: str) -> None:
        assert "not of a supported format (AVIF" in one_line(post(url, b"<script>alert(1)</script>"), 415)
        assert one_line(post(url, b"", name="a.png"), 400) == "image a.png is empty"
        assert "no file" in one_line(httpx.post(f"{url}/predict", files={"x": (None, "text")}), 400)
        assert "JSON" in one_line(httpx.post(f"{url}/predict", json={}), 415).upper()

    def test_damaged_form(self, url: str) -> None:
        kind = {"content-type": "multipart/form-data; boundary=x"}
        assert "form" in one_line(httpx.post(f"{url}/predict", content=b"nonsense", headers=kind), 400)
        kind = {"content-type": "multipart/form-data"}
        assert "form" in one_line(httpx.post(f"{url}/predict", content=b"nonsense", headers=kind), 400)

    @pytest.mark.parametrize(
        ("name", "value"), [("format", "xml"), ("score_thr", "2"), ("score_thr", "nan"), ("model", "c.onnx")]
    )
    def test_wrong_parameter(self, url: str, name: str, value: str) -> None:
        assert name in one_line(post(url, params={name: value}), 422)

    def test_the_model_does_not_take_the_image(self) -> None:
        def refuse() -> None:
            raise DataError("an image cannot be prepared for the network")

        with running_server(served_app(RingPredictor(before=refuse))) as url:
            assert "cannot be prepared" in one_line(post(url), 422)

    def test_the_model_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail() -> None:
            raise RuntimeError("secret /path/of/the/server")

        with running_server(served_app(RingPredictor(before=fail))) as url:
            assert "secret" not in one_line(post(url), 500)
            assert httpx.get(f"{url}/healthz").json()["requests"] == 0
        assert "secret" in caplog.text


class TestLimits:
    def test_upload_size(self, url: str) -> None:
        large = b"\x89PNG\r\n\x1a\n" + bytes(300_000)
        assert "200000 bytes" in one_line(post(url, large), 413)
        assert "200000 bytes" in one_line(httpx.post(f"{url}/predict", content=large), 413)

    def test_upload_size_without_a_stated_length(self, url: str) -> None:
        def pieces() -> Any:
            for _ in range(30):
                yield bytes(10_000)

        assert "200000 bytes" in one_line(httpx.post(f"{url}/predict", content=pieces()), 413)

    def test_pixels_are_counted_before_they_are_decoded(self, url: str) -> None:
        assert "30000 x 30000 pixels" in one_line(post(url, png_bomb(30_000)), 413)

    def test_requests_at_once(self) -> None:
        release = threading.Event()
        predictor = RingPredictor(before=lambda: release.wait(20))
        with running_server(served_app(predictor, limits=LIMITS)) as url, ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(post, url) for _ in range(2)]
            while httpx.get(f"{url}/healthz").json()["requests"] < 2:
                time.sleep(0.02)
            refused = post(url)
            assert "busy with 2 requests" in one_line(refused, 503)
            assert int(refused.headers["retry-after"]) > 0
            release.set()
            assert [each.result().status_code for each in waiting] == [200, 200]
            assert post(url).status_code == 200

    def test_time_out_keeps_the_slot_until_the_model_has_ended(self) -> None:
        release = threading.Event()
        limits = ServerLimits(max_requests=2, timeout=0.3)
        with running_server(served_app(RingPredictor(before=lambda: release.wait(20)), limits=limits)) as url:
            assert "0.3 seconds" in one_line(post(url), 504)
            assert httpx.get(f"{url}/healthz").json()["requests"] == 1
            release.set()
            deadline = time.monotonic() + 10
            while httpx.get(f"{url}/healthz").json()["requests"] and time.monotonic() < deadline:
                time.sleep(0.02)
            assert post(url).status_code == 200

    def test_slow_upload(self) -> None:
        def drip() -> Any:
            yield b"\x89PNG"
            time.sleep(1)
            yield b"more"

        with running_server(served_app(limits=ServerLimits(timeout=0.2))) as url:
            assert "was not received" in one_line(httpx.post(f"{url}/predict", content=drip()), 408)
            assert httpx.get(f"{url}/healthz").json()["requests"] == 0

    @pytest.mark.parametrize(
        "limits", [dict(max_upload_bytes=0), dict(max_pixels=2**40), dict(max_requests=0), dict(timeout=float("nan"))]
    )
    def test_wrong_limits(self, limits: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(limits))):
            ServerLimits(**limits)


class TestPaths:
    @pytest.mark.parametrize(
        ("sent", "name"),
        [
            ("../../etc/passwd", "passwd"),
            ("C:\\images\\a.png", "a.png"),
            ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
            ("a\x1b[31m\n.png", "a\\x1b[31m\\n.png"),
            ("", "image"),
            ("folder/", "image"),
            ("x" * 500, "x" * 200),
        ],
    )
    def test_names_are_names_alone(self, sent: str, name: str) -> None:
        assert base_name(sent) == name

    def test_no_request_touches_the_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also not a file above 1 MB, which Starlette's parser would keep in a temporary file."""
        content = image_file(height=900, width=900)
        assert len(content) > 2**21
        opened: list[Any] = []
        with running_server(served_app(limits=ServerLimits())) as url:
            post(url)  # imports modules
            real = io.open
            for module in (builtins, io):
                monkeypatch.setattr(module, "open", lambda *words, **options: opened.append(words) or real(*words))
            monkeypatch.setattr(tempfile, "TemporaryFile", lambda *words, **options: opened.append("temporary"))
            with httpx.Client() as client:
                opened.clear()
                answer = client.post(f"{url}/predict", files={"image": ("/etc/passwd", content)}, timeout=20)
                static = client.get(f"{url}/static/..%2f..%2fcli%2fserve.py")
            monkeypatch.undo()
        assert json.loads(answer.text)["image"]["name"] == "passwd"
        assert static.status_code == 404
        assert not opened


class TestProtection:
    def test_other_names_of_the_host_are_refused(self) -> None:
        with running_server(served_app(hosts=["127.0.0.1", "localhost"])) as url:
            assert "Host" in one_line(httpx.get(f"{url}/healthz", headers={"host": "evil.example"}), 403)
            assert httpx.get(f"{url}/healthz", headers={"host": "localhost:7860"}).status_code == 200

    def test_other_pages_are_refused(self) -> None:
        with running_server(served_app(hosts=["127.0.0.1", "solo.example"])) as url:
            for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://["):
                assert "other web pages" in one_line(post(url, headers={"origin": origin}), 403)
            assert post(url, headers={"origin": url}).status_code == 200
            assert post(url, headers={"origin": "https://solo.example"}).status_code == 200


def test_a_server_leaves_the_log_files_of_a_training_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn's configuration of logging would close every handler of the process."""
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    handler = logging.FileHandler(tmp_path / "train.log")
    try:
        with socket.create_server(("127.0.0.1", 0)) as opened:
            run_app(served_app(RingPredictor()), opened)
        assert handler.stream is not None and not handler.stream.closed
    finally:
        handler.close()
