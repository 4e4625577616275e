"""Sizes of installations, and the time from the start of a process to its first result.

    python benchmarks/startup.py IMAGE model.onnx model_openvino --config CONFIG --checkpoint CHECKPOINT

Each measurement is a new process that imports `SOLOPredictor`, opens the model and predicts the image; processes of the
models take turns.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

INSTALLATIONS = {
    "onnxruntime": ("numpy", "opencv-python-headless", "onnxruntime"),
    "openvino": ("numpy", "opencv-python-headless", "openvino"),
    "solov2 with torch": (
        *("torch", "mmengine", "mmcv-lite", "mmdet", "pycocotools", "hotcoco", "numpy", "safetensors", "yapf"),
        *("tensorboard", "opencv-python-headless"),
    ),
}
SCRIPT = """
import sys
from solo import SOLOPredictor
image, *model = sys.argv[1:]
SOLOPredictor(*model, device="cpu")(image)
"""


def main() -> None:
    """Print the sizes, and the times if models are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", help="image file")
    parser.add_argument("models", nargs="*", help="exported files")
    parser.add_argument("--config", help="config of the checkpoint")
    parser.add_argument("--checkpoint", help="checkpoint to compare with")
    parser.add_argument("--iters", type=int, default=5, help="processes of each model (default: %(default)s)")
    arguments = parser.parse_args()
    for name, distributions in INSTALLATIONS.items():
        sizes = installed_sizes(distributions)
        print(f"{name}: {sum(sizes.values()) / 1e6:.0f} MB, {len(sizes)} packages")
    models = [[model] for model in arguments.models]
    if arguments.checkpoint:
        models.append([arguments.config, arguments.checkpoint])
    for model, seconds in zip(models, time_starts(arguments.image, models, repetitions=arguments.iters), strict=True):
        print(f"{model[-1]}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")


def time_starts(image: str, models: Sequence[Sequence[str]], *, repetitions: int) -> list[list[float]]:
    """Seconds from the start of a process to its end, after a first result; one untimed process of each is first."""
    seconds: list[list[float]] = [[] for _ in models]
    for repetition in range(-1, repetitions):
        for taken, model in zip(seconds, models, strict=True):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", SCRIPT, image, *model], check=True)
            taken += [time.perf_counter() - start] * (repetition >= 0)
    return seconds


def installed_sizes(distributions: Iterable[str]) -> dict[str, int]:
    """Bytes of installed distributions and of all that they require, without extras; those not installed are 0."""
    sizes: dict[str, int] = {}
    names = [*distributions]
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in sizes:
            continue
        sizes[name] = 0
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        paths = (Path(str(distribution.locate_file(file))) for file in distribution.files or ())
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
        requirements = [text.partition(";") for text in distribution.requires or ()]
        names += [re.split(r"[\s\[<>=!~(]", text)[0] for text, _, marker in requirements if applies(marker)]
    return {name: size for name, size in sizes.items() if size}


def applies(marker: str) -> bool:
    """Whether the environment marker of a requirement holds here, without extras."""
    from packaging.markers import Marker

    return not marker.strip() or Marker(marker).evaluate({"extra": ""})


if __name__ == "__main__":
    main()
