"""Package `solo`, distributed as `solov2`."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
DEVELOPMENT = ["hypothesis", "mypy", "pytest", "pytest-timeout", "ruff"]
DOCUMENTATION = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.27"]


def runtime_requirements() -> list[str]:
    """The lines of requirements.txt that name a distribution: neither options nor local folders."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return [line for line in lines if line and not line.startswith(("-", "."))]


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
    package_data={"solo": ["py.typed"]},
    python_requires=">=3.10,<3.14",
    entry_points={"console_scripts": ["solo = solo.cli:main"]},
    install_requires=runtime_requirements(),
    extras_require={"dev": DEVELOPMENT, "docs": DOCUMENTATION},
)
