"""A machine without torch: exported models of the zoo run in an environment of four packages."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest

from solo import SOLOPredictor, load_config
from solo.datasets.shapes.rendering import render_image
from solo.export import ExportOptions, export_model
from solo.inference.instances import Instances
from tests.helpers.exported import write_random_checkpoint
from tests.helpers.onnx_files import write_detections
from tests.helpers.paths import CONFIGS, ROOT

for extra in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(extra, reason="needs solov2[onnx] and solov2[openvino]")

NEEDED = ("numpy", "cv2", "onnxruntime", "openvino")
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "mmengine", "mmcv", "mmdet", "pycocotools"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""
SCRIPT = """
import json, sys
from importlib.util import find_spec
from solo import SOLOPredictor

missing = [name for name in ("torch", "mmengine", "mmcv", "mmdet", "pycocotools", "pip") if find_spec(name) is None]
found = SOLOPredictor(sys.argv[1])(sys.argv[2])
fields = dict(labels=found.labels.tolist(), scores=found.scores.tolist(), boxes=found.boxes.tolist(), rles=found.rles)
print(json.dumps(dict(missing=missing, image_size=found.image_size, classes=found.classes, **fields)))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the needed packages, linked from this one, and with solo alone."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        home = Path(spec.origin).parent
        for source in (home, *home.parent.glob(f"{name}.libs"), *home.parent.glob("opencv*.libs")):
            if not (packages / source.name).exists():
                (packages / source.name).symlink_to(source)
    (packages / "solo").symlink_to(ROOT / "solo")
    return folder / "bin" / "python"


def test_the_command_imports_nothing_that_a_machine_without_torch_lacks(tmp_path: Path) -> None:
    """In seconds what the test below does in an environment of its own: these modules are missing for the command."""
    model = write_detections(tmp_path / "m.onnx")
    image, _ = render_image(rng=np.random.default_rng(0), size=128)
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    done = subprocess.run(
        [sys.executable, "-m", "solo.runtime", str(model), "a.png", "--out-dir", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "predictions.json").is_file()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("name", "contract", "size"),
    [
        ("shapes/solov2-nano_shapes.py", "detections", None),
        ("solov2/solov2-light_r18_fpn_ms-3x_coco.py", "raw", (448, 448)),
    ],
)
def test_models_of_the_zoo_run_without_torch(
    python: Path, tmp_path: Path, name: str, contract: str, size: tuple[int, int] | None, format: str
) -> None:
    """A square image has the same size as input of the fixed graph as in the config's test pipeline.

    With random weights more pairs of a cell and a class than `nms_pre` pass the threshold where there are 80 classes:
    contract "raw" gives the model's detections for any number of them.
    """
    config = load_config(CONFIGS / name)
    checkpoint = write_random_checkpoint(config, tmp_path / "weights.pth")
    suffix = {"onnx": ".onnx", "openvino": "_openvino"}[format]
    options = ExportOptions(format=format, contract=contract, size=size, verify=False)
    path = export_model(config, checkpoint, options=options, out=tmp_path / f"m{suffix}")
    image, _ = render_image(rng=np.random.default_rng(0), size=128)
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    command = [str(python), "-I", "-W", "error", "-c", SCRIPT, str(path), str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout.splitlines()[-1])
    assert len(values.pop("missing")) == 6
    found, expected = Instances(**values), SOLOPredictor(config, checkpoint, device="cpu")(tmp_path / "a.png")
    assert found.classes == expected.classes and len(expected) > 3
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    masks, same = found.to_bool(), expected.to_bool()
    assert (masks != same).sum() <= 1 + masks.size // 1000
