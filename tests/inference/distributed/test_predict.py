"""`solo predict --ray` on a cluster of two nodes, of which processes are killed."""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from solo.inference.distributed import read_shards
from solo.inference.predictor import SOLOPredictor
from tests.helpers import commands
from tests.helpers.commands import start_module, wait_for
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.paths import ROOT
from tests.helpers.ray_models import make_mortal

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray"),
    pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow"),
]
IMAGES = 9
finish = functools.partial(commands.finish, seconds=400)  # Ray starts in ten seconds, or in a hundred where all is busy


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two nodes."""
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "ray_cluster.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with subprocess.Popen(command, env=environment, text=True, **pipes) as cluster:  # type: ignore[call-overload]
        found = next((line for line in cluster.stdout if line.startswith("address ")), None)
        if found is None:
            pytest.skip("a Ray cluster does not start within 30 seconds here")
        yield found.split()[1]
        cluster.stdin.close()
        cluster.wait(timeout=60)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images and a model that takes its time for each."""
    monkeypatch.setenv(
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
    )  # a command that joins a cluster of the loopback needs it
    make_mortal(write_config(tmp_path, count=IMAGES), seconds=0.2)
    write_checkpoint(tmp_path / "weights.pth")
    return tmp_path


def start(folder: Path, address: str, *sources: str, actors: int = 2) -> subprocess.Popen[str]:
    words = ["predict", *sources, "--ray", address, "--ray-shard", "2", "--ray-actors", str(actors)]
    words += ["--config", "square.py", "--checkpoint", "weights.pth", "--out-dir", "shards"]
    return start_module("solo", *words, folder=folder)


def written(folder: Path) -> list[str]:
    """The names of the images in all shards."""
    return sorted(Path(image.path).name for image in read_shards(folder / "shards"))


def test_results_are_those_of_predict_although_an_actor_is_killed(folder: Path, address: str) -> None:
    (folder / "deadly").touch()
    (folder / "data" / "broken.png").write_bytes(b"no image")
    (folder / "web").mkdir()
    shutil.copy(folder / "data" / "0.png", folder / "web" / "photo.png")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}"
        (folder / "urls.txt").write_text(f"{web}/photo.png?token=secret\n{web}/missing.png\n")
        out, error = finish(start(folder, address, "data", "urls.txt"))
        server.shutdown()
    assert not (folder / "deadly").exists()  # an actor died
    assert f"{IMAGES + 1} images; {IMAGES + 3} in this run: {IMAGES + 1} objects" in out
    assert "2 could not be read" in out
    assert "broken.png cannot be read" in error and "missing.png cannot be read" in error
    found = {image.path: image for image in read_shards(folder / "shards")}
    assert len(found) == len(written(folder)) == IMAGES + 3
    predictor = SOLOPredictor(folder / "square.py", folder / "weights.pth", device="cpu")
    for path in (folder / "data").glob("[0-9].png"):
        expected, instances = predictor(path), found[str(path)].instances
        assert instances is not None
        assert instances.rles == expected.rles and instances.classes == expected.classes
        assert (instances.scores == expected.scores).all() and (instances.boxes == expected.boxes).all()
        assert (instances.labels == expected.labels).all() and instances.image_size == expected.image_size
    assert found[f"{web}/photo.png"].instances is not None
    assert "secret" not in str(list((folder / "shards").iterdir())) + str(found)
    assert {path.suffix for path in (folder / "shards").iterdir()} == {".json", ".parquet"}


def test_a_run_that_was_killed_goes_on(folder: Path, address: str) -> None:
    killed = start(folder, address, "data", actors=1)
    wait_for(lambda: any((folder / "shards").glob("shard-*")), seconds=200)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = written(folder)
    assert 0 < len(before) < IMAGES
    out, _ = finish(start(folder, address, "data"))
    assert "were done before" in out
    assert written(folder) == sorted(f"{number}.png" for number in range(IMAGES))
    write_checkpoint(folder / "weights.pth", classes=("black", "white"))
    out, error = finish(start(folder, address, "data"), code=2)
    assert error.count("\n") == 1
    assert "belongs to another run: its model is" in error


def test_a_ray_of_its_own_listens_on_the_loopback_alone(folder: Path) -> None:
    psutil = pytest.importorskip("psutil", reason="needs psutil")
    process, listening = start(folder, "local", "data"), set()
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            tree = psutil.Process(process.pid).children(recursive=True)
            found = [
                connection for each in tree for connection in each.net_connections() if connection.status == "LISTEN"
            ]
            listening.update(connection.laddr.ip for connection in found)
        time.sleep(0.2)
    out, error = finish(process)
    assert f"{IMAGES} images" in out, error
    assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
