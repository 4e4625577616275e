"""200 requests from 16 clients at once: none is lost, and the server's memory stays flat."""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("fastapi", reason="needs solov2[serve]")
pytest.importorskip("python_multipart", reason="needs solov2[serve]")
pytest.importorskip("onnx", reason="needs solov2[onnx]")
pytest.importorskip("onnxruntime", reason="needs solov2[onnx]")
httpx = pytest.importorskip("httpx", reason="needs httpx")

from tests.helpers.commands import finish, start_module  # noqa: E402
from tests.helpers.onnx_files import write_detections  # noqa: E402
from tests.helpers.served import image_file  # noqa: E402


class Answer(NamedTuple):
    instances: int
    retries: int
    seconds: float


def send(url: str, *, requests: int, clients: int, content: bytes) -> list[Answer]:
    """Post an image many times; a busy server is asked again after the time that it names."""

    def post(client: httpx.Client) -> Answer:
        start = time.perf_counter()
        for retries in range(1000):
            answer = client.post(f"{url}/predict", files={"image": ("a.png", content)}, params={"format": "rle"})
            if answer.status_code != 503:
                answer.raise_for_status()
                return Answer(len(answer.json()["instances"]), retries, time.perf_counter() - start)
            time.sleep(float(answer.headers["retry-after"]))
        raise AssertionError("always busy")

    limits = httpx.Limits(max_connections=clients)
    with httpx.Client(timeout=120, limits=limits) as client, ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda _: post(client), range(requests)))


def resident_megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("max_requests", [32, 4])
def test_none_is_lost_and_memory_is_flat(tmp_path: Path, max_requests: int) -> None:
    model = write_detections(tmp_path / "model.onnx")
    words = [str(model), "--port", "0", "--max-requests", str(max_requests), "--deploy", "threads=1"]
    process = start_module("solo", "serve", *words, folder=tmp_path)
    assert process.stdout is not None
    url = next(line.split()[1] for line in process.stdout if line.startswith("page "))
    content = image_file(height=160, width=160)
    try:
        send(url, requests=64, clients=16, content=content)  # fills the allocator's pools
        before = resident_megabytes(process.pid)
        answers = send(url, requests=200, clients=16, content=content)
        after = resident_megabytes(process.pid)
        assert len(answers) == 200 and {answer.instances for answer in answers} == {2}
        assert max_requests < 16 or not sum(answer.retries for answer in answers)
        assert after < 1.1 * before + 5
        assert httpx.get(f"{url}/healthz").json()["requests"] == 0
    finally:
        process.send_signal(signal.SIGINT)
    finish(process)
    assert not os.path.exists(f"/proc/{process.pid}")
