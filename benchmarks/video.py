"""Frames a second of a video, by stage: decode, predict (pixels to RLEs), draw, encode, and all of `solo predict`.

    python benchmarks/video.py --config CONFIG --checkpoint CHECKPOINT [--frames 60] [--size 1280 720]

The video is rendered: objects of the shapes data set move over it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from benchmarks.tracking import render_moving_shapes
from solo.deployment import DeploymentOptions
from solo.inference.instances import Instances
from solo.inference.predict_files import predict_files
from solo.inference.predictor import SOLOPredictor
from solo.inference.sources import Frame, open_source
from solo.inference.writers import ResultOptions
from solo.inference.writers.video import VideoWriter

SCORE = 0.3


def main() -> None:
    """Print the frames a second of each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="config file")
    parser.add_argument("--checkpoint", required=True, help="checkpoint, or exported file")
    parser.add_argument("--frames", type=int, default=60, help="frames of the video (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="width and height (default: 1280 720)")
    parser.add_argument("--threads", type=int, help="CPU threads of the network (default: torch's choice)")
    parser.add_argument("--score-thr", type=float, default=SCORE, help="lowest score drawn (default: %(default)s)")
    arguments = parser.parse_args()
    deployment = DeploymentOptions.from_mapping(
        dict(fold_norms=True, channels_last=True, pack_weights=True, threads=arguments.threads)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_shapes_video(path, frames=arguments.frames, width=arguments.size[0], height=arguments.size[1])
        predictor = SOLOPredictor(arguments.config, arguments.checkpoint, device="cpu", deployment=deployment)
        for name, rate in measure_stages(path, predictor, score_thr=arguments.score_thr).items():
            print(f"{name}: {rate:.1f} frames/s")


def measure_stages(path: Path, predictor: SOLOPredictor, *, score_thr: float) -> dict[str, float]:
    """Frames a second of each stage alone (from the median time of a frame), and of the command."""
    seconds: dict[str, list[float]] = {name: [] for name in ("decode", "predict", "draw", "encode")}
    frames = open_source(path).parts[0].frames(open_source(path).report)
    with tempfile.TemporaryDirectory() as folder:
        writer = _EncodeOnly(Path(folder))
        for _ in itertools.count():
            with _timed(seconds["decode"]):
                frame = next(frames, None)
            if frame is None:
                break
            with _timed(seconds["predict"]):
                instances = predictor(frame.image)
            instances = instances[instances.scores >= score_thr]
            with _timed(seconds["draw"]):
                drawn = instances.plot(frame.image, score_thr=0.0)
            with _timed(seconds["encode"]):
                writer.write_drawn(frame, drawn)
        writer.close()
        options = ResultOptions(video=True)
        summary = predict_files(
            open_source(path), predictor=predictor, out_dir=Path(folder) / "all", score_thr=score_thr, options=options
        )
    rates = {name: 1 / statistics.median(times[1:]) for name, times in seconds.items()}  # the first one is warm-up
    return {**rates, "solo predict --save-video": summary.images / summary.seconds}


def write_shapes_video(path: Path, *, frames: int, width: int, height: int) -> None:
    """Encode a rendered video, enlarged and cut to the size."""
    side = max(width, height)
    writer = _EncodeOnly(path.parent)
    for index, frame in enumerate(render_moving_shapes(rng=np.random.default_rng(0), frames=frames, count=8, size=320)):
        image = cv2.resize(frame.image, (side, side))[:height, :width]
        named = Frame(image=image, index=index, time=index / 30, path=str(path), name=f"{path.stem}/{index:06d}")
        writer.write_drawn(named, image)
    writer.close()


class _EncodeOnly(VideoWriter):
    """Encodes images that are drawn already."""

    def write_drawn(self, frame: Frame, drawn: np.ndarray) -> None:
        nothing = Instances(labels=[], scores=[], boxes=[], rles=[], image_size=drawn.shape[:2], classes=())
        already = Frame(image=drawn, index=frame.index, time=frame.time, path=frame.path, name=frame.name)
        self.write(already, nothing)


@contextlib.contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - start)


if __name__ == "__main__":
    main()
