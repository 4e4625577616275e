"""The scaling model: all-reduce and slowest process by hand, its limits, and its predictions of published trainings."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling import (
    BUCKET_BYTES,
    V100,
    Step,
    achieved_share,
    count_training_flops,
    expected_slowest,
    exposed_seconds,
    images_per_second,
    published_rows,
    step_at_peak,
    training_sizes,
)
from solo.checkpoints.fitting import model_on_meta
from solo.config import load_config
from solo.engine.flops import count_flops
from solo.errors import UserError
from tests.helpers.paths import CONFIGS, ROOT

LINKS = dict(inside=(100e9, 1e-6), between=(10e9, 1e-5))


def step(*seconds: float, images: int = 2, draws: int = 1, gradient_bytes: float = 2e8) -> Step:
    return Step(images, seconds, draws=draws, gradient_bytes=gradient_bytes)


def test_all_reduce_by_hand() -> None:
    """A bucket has 2 * 7/8 of its bytes inside a machine and 2 * 3/4 between four; latencies 2 * 3 and 2 * 2 times."""
    one_bucket = step(1.0, gradient_bytes=BUCKET_BYTES)
    inside, between = BUCKET_BYTES * 1.75 / 100e9 + 6e-6, BUCKET_BYTES * 1.5 / 10e9 + 4e-5
    assert exposed_seconds(one_bucket, gpus=1, **LINKS) == 0
    assert exposed_seconds(one_bucket, gpus=8, **LINKS) == pytest.approx(inside)
    assert exposed_seconds(one_bucket, gpus=32, **LINKS) == pytest.approx(inside + between)


def test_what_the_backward_pass_hides_by_hand() -> None:
    """Four buckets of 10 ms: all but one are hidden, unless the backward pass is too short for them."""
    links = dict(inside=(BUCKET_BYTES / 0.01, 0.0), between=(1e30, 0.0))
    long = step(0.3, gradient_bytes=4 * BUCKET_BYTES)
    assert exposed_seconds(long, gpus=2, **links) == pytest.approx(0.01)
    # 40 ms of messages after a backward pass of 20 ms, whose first quarter has no gradient yet.
    assert exposed_seconds(long.scaled(0.1), gpus=2, **links) == pytest.approx(0.04 - 0.02 * 0.75)


@given(times=st.lists(st.floats(0.01, 10), min_size=1, max_size=4), draws=st.integers(1, 4))
def test_slowest_against_all_combinations(times: list[float], draws: int) -> None:
    combinations = [max(drawn) for drawn in itertools.product(times, repeat=draws)]
    assert expected_slowest(times, draws) == pytest.approx(sum(combinations) / len(combinations))


def test_one_gpu_is_what_was_measured() -> None:
    assert images_per_second(step(0.1, 0.3), gpus=1, **LINKS) == pytest.approx(2 / 0.2)
    waiting = step(0.2)._replace(host_seconds=0.05)
    assert images_per_second(waiting, gpus=1, **LINKS) == pytest.approx(2 / 0.25)


def test_equal_steps_and_instant_links_scale_perfectly() -> None:
    instant = (1e30, 0.0)
    assert images_per_second(step(0.2), gpus=512, inside=instant, between=instant) == pytest.approx(5120)


@given(
    seconds=st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    size=st.floats(0, 1e10),
    images=st.integers(1, 8),
)
def test_more_gpus_are_never_more_efficient(seconds: list[float], size: float, images: int) -> None:
    found = step(*seconds, images=images, gradient_bytes=size)
    rates = [images_per_second(found, gpus=gpus, **LINKS) / gpus for gpus in (1, 2, 4, 8, 16, 64, 512)]
    for fewer, more in itertools.pairwise(rates):
        assert more <= fewer * (1 + 1e-9)
    smaller = found._replace(gradient_bytes=size / 2)
    assert images_per_second(smaller, gpus=64, **LINKS) / 64 >= rates[-2] * (1 - 1e-9)


@given(share=st.floats(0.05, 0.95))
def test_share_of_a_predicted_rate(share: float) -> None:
    ideal = step(0.1, 0.15, draws=2)

    def rate(share: float) -> float:
        return images_per_second(ideal.scaled(1 / share), gpus=8, **LINKS)

    assert achieved_share(rate, rate(share)) == pytest.approx(share)


@pytest.mark.long
def test_training_flops_are_three_forward_passes_but_for_what_is_frozen() -> None:
    model = model_on_meta(load_config(CONFIGS / "shapes/solov2-nano_shapes.py"))
    forward = count_flops(model, (160, 160))["total"]
    # Nothing is frozen; only the first convolution has no gradient of its input: 16 x 3 x 7 x 7 at 80 x 80.
    assert count_training_flops(model, (160, 160)) == 3 * forward - 2 * 16 * 3 * 49 * 80 * 80
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_flops_of_solo_are_not_counted() -> None:
    model = model_on_meta(load_config(CONFIGS / "solo/decoupled-solo-light_r50_fpn_3x_coco.py"))
    with pytest.raises(UserError, match="for SOLOv2 only"):
        count_training_flops(model, (160, 160))


@pytest.mark.long
def test_step_of_a_config() -> None:
    """R50 at 800 x 1088: 1237.9 GFLOP an image, 46.37 million trained parameters."""
    config = load_config(CONFIGS / "solov2/solov2_r50_fpn_1x_coco.py")
    found = step_at_peak(config, V100, images=2, bytes_per_gradient=2)
    assert found.gradient_bytes == pytest.approx(2 * 46.37e6, rel=1e-3)
    assert found.seconds == pytest.approx((2 * 1237.88e9 / 15.7e12,), rel=1e-3)
    assert (found.draws, found.images) == (2, 2)


def test_sizes_of_a_config() -> None:
    sizes = training_sizes(load_config(CONFIGS / "solov2/solov2_r50_fpn_ms-3x_coco.py"))
    assert sizes[0] == (800, 1088) and sizes[-1] == (640, 864) and len(sizes) == 6
    assert training_sizes(load_config(CONFIGS / "solov2/solov2_r50_fpn_8xb8-lsj-200e_coco.py")) == [(1024, 1024)]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_published_trainings_as_the_documentation_says() -> None:
    text = (ROOT / "docs/scaling.md").read_text()
    for name, rate, share, used, predicted in published_rows():
        shown = f"| {share:.3f} | {used:.3f} | {predicted:.1f} | {predicted / rate - 1:+.0%} |"
        assert shown in text, (name, shown)


@pytest.mark.long
def test_command(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/scaling.py"), "predict"]
    config = str(CONFIGS / "shapes/solov2-nano_shapes.py")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        arguments = [*command, config, *options]
        return subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, timeout=100)

    done = run("--step-seconds", "0.5", "--gpus", "1", "8", "--images", "2")
    assert done.returncode == 0, done.stderr
    header, one, _ = done.stdout.splitlines()
    assert header.split()[:3] == ["GPUs", "images/s", "efficiency"]
    assert one.split()[:3] == ["1", "4", "1.000"]
    wrong = run("--share", "0.5", "--gpus", "12")
    assert wrong.returncode == 2
    assert "argument --gpus: invalid choice: 12" in wrong.stderr
