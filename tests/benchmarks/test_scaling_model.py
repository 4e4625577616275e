"""The scaling model: all-reduce and slowest process by hand, its limits, and what it makes of published trainings."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling_cases import PUBLISHED, V100, reproduce, step_at_peak, training_sizes
from benchmarks.scaling_model import (
    BUCKET_BYTES,
    Link,
    Machines,
    Step,
    achieved_share,
    all_reduce_seconds,
    expected_slowest,
    exposed_seconds,
    predict,
)
from benchmarks.two_processes import compare_with_two_processes
from solo.checkpoints.fitting import model_on_meta
from solo.config import load_config
from solo.engine.flops import count_flops, count_training_flops
from solo.errors import ConfigError
from tests.helpers.paths import CONFIGS, ROOT

INSIDE, BETWEEN = Link(bytes_per_second=100e9, latency=1e-6), Link(bytes_per_second=10e9, latency=1e-5)


def machines(gpus: int, gpus_per_machine: int = 8) -> Machines:
    return Machines(gpus=gpus, gpus_per_machine=gpus_per_machine, inside=INSIDE, between=BETWEEN)


# --------------------------------------------------------------------------------------------------------- all-reduce
def test_all_reduce_by_hand() -> None:
    """Of 1 GB: 2 * 7/8 / 100 s inside, 2 * 3/4 / 10 s between four machines; latencies 2 * 3 us and 2 * 2 * 10 us."""
    assert all_reduce_seconds(1e9, machines(1)) == 0
    assert all_reduce_seconds(1e9, machines(8)) == pytest.approx(0.0175 + 6e-6)
    assert all_reduce_seconds(1e9, machines(32)) == pytest.approx(0.0175 + 6e-6 + 0.15 + 4e-5)
    assert all_reduce_seconds(1e9, machines(2)) == pytest.approx(0.01 + 2e-6)


def test_what_the_backward_pass_hides_by_hand() -> None:
    """Four buckets of 10 ms between two machines: all but one are hidden, or what the backward pass is short of."""
    pair = Machines(gpus=2, gpus_per_machine=1, inside=INSIDE, between=Link(bytes_per_second=BUCKET_BYTES / 0.01))
    step = Step(images=1, seconds=(0.3,), gradient_bytes=4 * BUCKET_BYTES, backward_share=0.5)
    assert exposed_seconds(step, pair) == pytest.approx(0.01)
    # 40 ms of messages after a backward pass of 20 ms, of which the first quarter has no gradient.
    assert exposed_seconds(step.scaled(2 / 15), pair) == pytest.approx(0.04 - 0.02 * 0.75)
    assert exposed_seconds(replace(step, gradient_bytes=BUCKET_BYTES), pair) == pytest.approx(0.01)


# ------------------------------------------------------------------------------------------------------------ slowest
def test_slowest_by_hand() -> None:
    """Of 1 and 3 seconds: one process waits 2; of two, one in four pairs takes 1, three take 3."""
    assert expected_slowest([3.0, 1.0], 1) == pytest.approx(2)
    assert expected_slowest([3.0, 1.0], 2) == pytest.approx(2.5)
    assert expected_slowest([2.0], 64) == pytest.approx(2)


@given(times=st.lists(st.floats(0.01, 10), min_size=1, max_size=4), draws=st.integers(1, 4))
def test_slowest_against_all_combinations(times: list[float], draws: int) -> None:
    combinations = [max(drawn) for drawn in itertools.product(times, repeat=draws)]
    assert expected_slowest(times, draws) == pytest.approx(sum(combinations) / len(combinations))


# -------------------------------------------------------------------------------------------------------- predictions
def test_one_gpu_is_what_was_measured() -> None:
    found = predict(Step(images=2, seconds=(0.1, 0.3), gradient_bytes=2e8, sample_bytes=1e5), machines(1))
    assert (found.efficiency, found.exposed_seconds, found.loader_bound) == (1, 0, False)
    assert found.images_per_second == pytest.approx(2 / 0.2)
    assert found.storage_bytes_per_second == pytest.approx(10 * 1e5)


def test_equal_steps_and_instant_links_scale_perfectly() -> None:
    instant = Link(bytes_per_second=1e30)
    step = Step(images=2, seconds=(0.2,), gradient_bytes=2e8)
    found = predict(step, Machines(gpus=512, inside=instant, between=instant))
    assert found.efficiency == pytest.approx(1)
    assert found.images_per_second == pytest.approx(5120)


def test_a_slow_loader_is_the_limit() -> None:
    """Two images of 0.3 s from two workers last 0.3 s, whatever the device does; from six, 0.1 s."""
    step = Step(images=2, seconds=(0.2,), gradient_bytes=0, loader_seconds=0.3, workers=2)
    assert predict(step, machines(8)).step_seconds == pytest.approx(0.3)
    assert predict(step, machines(8)).loader_bound
    assert not predict(replace(step, workers=6), machines(8)).loader_bound


def test_the_host_adds_to_the_step() -> None:
    step = Step(images=2, seconds=(0.2,), gradient_bytes=0, host_seconds=0.05)
    assert predict(step, machines(8)).step_seconds == pytest.approx(0.25 + all_reduce_seconds(0, machines(8)))


@given(
    seconds=st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    size=st.floats(0, 1e10),
    images=st.integers(1, 8),
    loader=st.floats(0, 0.1),
)
def test_more_gpus_are_never_more_efficient(seconds: list[float], size: float, images: int, loader: float) -> None:
    step = Step(images=images, seconds=tuple(seconds), gradient_bytes=size, loader_seconds=loader)
    found = [predict(step, machines(gpus)) for gpus in (1, 2, 4, 8, 16, 64, 512)]
    assert found[0].efficiency == pytest.approx(1)
    for fewer, more in itertools.pairwise(found):
        assert more.efficiency <= fewer.efficiency * (1 + 1e-9)
    faster = predict(replace(step, gradient_bytes=size / 2), machines(64))
    assert faster.images_per_second >= found[-2].images_per_second * (1 - 1e-9)


@given(share=st.floats(0.05, 0.95))
def test_share_of_a_rate_that_the_model_predicted(share: float) -> None:
    ideal = Step(images=2, seconds=(0.1, 0.15), draws=2, gradient_bytes=2e8)
    rate = predict(ideal.scaled(1 / share), machines(8)).images_per_second
    assert achieved_share(ideal, machines(8), rate) == pytest.approx(share)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="12 GPUs in machines of 8"):
        machines(12)
    with pytest.raises(ValueError, match="images=0"):
        Step(images=0, seconds=(1.0,), gradient_bytes=0)
    with pytest.raises(ValueError, match=r"seconds=\(0.0,\)"):
        Step(images=1, seconds=(0.0,), gradient_bytes=0)
    with pytest.raises(ValueError, match="more than 8 GPUs can do at their peak"):
        achieved_share(Step(images=2, seconds=(1.0,), gradient_bytes=0), machines(8), 17.0)


# -------------------------------------------------------------------------------------------------- configs and peers
@pytest.mark.long
def test_training_operations_are_three_forward_passes_but_for_what_is_frozen() -> None:
    model = model_on_meta(load_config(CONFIGS / "shapes/solov2-nano_shapes.py"))
    forward = count_flops(model, (160, 160))["total"]
    # Nothing is frozen; the first convolution alone has no gradient of its input: 16 x 3 x 7 x 7 at 80 x 80.
    assert count_training_flops(model, (160, 160)) == 3 * forward - 2 * 16 * 3 * 49 * 80 * 80
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_operations_of_solo_are_not_counted() -> None:
    model = model_on_meta(load_config(CONFIGS / "solo/decoupled-solo-light_r50_fpn_3x_coco.py"))
    with pytest.raises(ConfigError, match="for SOLOv2 alone"):
        count_training_flops(model, (160, 160))


def test_sizes_of_a_config() -> None:
    sizes = training_sizes(load_config(CONFIGS / "solov2/solov2_r50_fpn_ms-3x_coco.py"))
    assert sizes[0] == (800, 1088) and sizes[-1] == (640, 864) and len(sizes) == 6
    assert training_sizes(load_config(CONFIGS / "solov2/solov2_r50_fpn_8xb8-lsj-200e_coco.py")) == [(1024, 1024)]


@pytest.mark.long
def test_step_of_a_config() -> None:
    """R50 at 800 x 1088: 1237.9 GFLOP an image, 46.37 million trained parameters."""
    step = step_at_peak(load_config(CONFIGS / "solov2/solov2_r50_fpn_1x_coco.py"), V100, bytes_a_gradient=2)
    assert step.gradient_bytes == pytest.approx(2 * 46.37e6, rel=1e-3)
    assert step.seconds == pytest.approx((2 * 1237.88e9 / 15.7e12,), rel=1e-3)
    assert (step.draws, step.images) == (2, 2)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_published_trainings_as_the_documentation_says() -> None:
    configs = [load_config(CONFIGS / training.config) for training in PUBLISHED]
    rows = {row.training.name: row for row in reproduce(PUBLISHED, configs)}
    text = (ROOT / "docs/scaling.md").read_text()
    for name, row in rows.items():
        shown = (
            f"| {row.share:.3f} | {row.used_share:.3f} | {row.prediction.images_per_second:.1f} | {row.error:+.0%} |"
        )
        assert shown in text, (name, shown)
    assert abs(rows["AdelaiDet R50 3x"].error) < 0.1


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_processes() -> None:
    """They run and are compared; how long they take depends on the machine."""
    found = compare_with_two_processes(CONFIGS / "shapes/solov2-nano_shapes.py", rounds=1)
    assert min(found.alone_seconds, found.all_reduce_seconds, found.together_seconds) > 0
    assert found.prediction.gpus == 2
    assert "predicted" in str(found) and "error" in str(found)


@pytest.mark.long
def test_command(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/scaling.py"), "predict"]
    config = str(CONFIGS / "shapes/solov2-nano_shapes.py")
    done = subprocess.run(
        [*command, config, "--step-seconds", "0.5", "--gpus", "1", "8", "--images", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    header, one, _ = done.stdout.splitlines()
    assert header.split()[:3] == ["GPUs", "images/s", "efficiency"]
    assert one.split()[:4] == ["1", "4", "1.000", "500.0"]
