"""The numpy decoder of docs/deploy.md gives the detections of the model."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from solo.export.description import read_settings
from solo.export.graph import RawGraph
from tests.helpers.exported import check_detections, padded_images, reference
from tests.helpers.paths import ROOT
from tests.helpers.tiny_model import build_random, tiny_config

SIZES = ((64, 96), (50, 80))


def documented_decoder() -> dict[str, Any]:
    """What the code of the page defines."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    code = next(block for block in blocks if "def decode(" in block)
    namespace: dict[str, Any] = {}
    exec(compile(code, "deploy.md", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@torch.no_grad()
def test_it_gives_the_detections_of_the_model(kernel: str) -> None:
    model = build_random(tiny_config(postprocess=dict(nms=dict(type="MatrixNMS", kernel=kernel))))
    graph = RawGraph(model).eval()
    images = padded_images(graph, *SIZES)
    decode, settings = documented_decoder()["decode"], asdict(read_settings(graph))
    for expected, size, *outputs in zip(reference(model, images, *SIZES), SIZES, *graph(images), strict=True):
        found = decode(*(output.numpy() for output in outputs), settings)
        scores, labels, masks = (torch.from_numpy(values) for values in found)
        assert len(scores) > 5
        bytes_ = (masks * 255).round().to(torch.uint8)
        check_detections([scores.float(), labels, torch.zeros(len(scores), 4), bytes_], expected, size=size)


def test_nothing_is_found_without_candidates() -> None:
    settings = asdict(read_settings(RawGraph(build_random(tiny_config()))))
    scores, labels, masks = documented_decoder()["decode"](
        np.full((120, 3), -9.0, np.float32), np.ones((120, 8), np.float32), np.ones((8, 16, 24), np.float32), settings
    )
    assert (len(scores), len(labels), masks.shape) == (0, 0, (0, 16, 24))
