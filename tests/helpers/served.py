"""Servers for tests: predictors that find rectangles in bright images, and a server in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from solo.images.pixels import BGR
from solo.inference.instances import Instances
from solo.masks.rle import encode_masks
from solo.serve.application import create_app
from solo.serve.limits import ServerLimits
from solo.serve.models import ServedModel

CLASSES = ("cell", "dust")


class RingPredictor:
    """Finds in every image a cell with a hole (score 0.9), dust (0.4), and dust below what is sent (0.01)."""

    device = "cpu"
    pixel_format = BGR

    def __init__(
        self, *, classes: tuple[str, ...] = CLASSES, before: Callable[[], object] = lambda: None, shift: int = 0
    ) -> None:
        self.classes, self._before, self._shift = classes, before, shift
        self.calls = 0

    def __call__(self, image: Any) -> Instances:
        self.calls += 1
        self._before()
        height, width = image.shape[:2]
        masks = np.zeros((3, height, width), bool)
        left = 4 + self._shift
        masks[0, 4:24, left : left + 20] = True
        masks[0, 10:16, left + 6 : left + 12] = False
        masks[1, 4:12, 40:50] = True
        masks[1, 20:24, 40:44] = True  # a second part
        masks[2, 0:2, 0:2] = True
        boxes = [[left, 4, left + 20, 24], [40, 4, 50, 24], [0, 0, 2, 2]]
        return Instances(
            labels=np.array([0, len(self.classes) - 1, 0]),
            scores=np.array([0.9, 0.4, 0.01], np.float32),
            boxes=np.array(boxes, np.float32),
            rles=encode_masks(masks),
            image_size=(height, width),
            classes=self.classes,
        )


def image_file(*, height: int = 48, width: int = 64, suffix: str = ".png", seed: int = 0) -> bytes:
    """The content of an image file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def served_app(*predictors: Any, limits: ServerLimits | None = None, hosts: Any = None, **options: Any) -> Any:
    """An application with the predictors, called "a.onnx", "b.onnx"."""
    models = [ServedModel(f"{letter}.onnx", each) for letter, each in zip("ab", predictors, strict=False)]
    return create_app(models or [ServedModel("a.onnx", RingPredictor())], limits=limits, hosts=hosts, **options)


@contextlib.contextmanager
def running_server(app: Any) -> Iterator[str]:
    """Serve an application in a thread; yields its URL."""
    import uvicorn

    opened = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, log_level="error", access_log=False, timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs=dict(sockets=[opened]), daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        opened.close()
