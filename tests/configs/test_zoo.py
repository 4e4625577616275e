"""Every shipped config: frozen settings, size, and two training steps and a prediction on photos."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from solo.checkpoints.fitting import model_on_meta
from solo.config import load_config
from solo.config.overrides import start_from_random_weights
from solo.engine.flops import count_flops, default_size, describe_model
from solo.errors import ConfigError
from solo.registry import DATASETS, MODELS
from tests.helpers.config_snapshots import SHIPPED, SNAPSHOTS, settings, skip_without_backbone, snapshot_path
from tests.helpers.paths import CONFIGS, ROOT

CELLS = 3872
# Size of the image; millions of parameters; GFLOP of backbone, neck, mask feature branch, heads. The first four rows'
# sums are known from mmdetection's models (505.1, 664.2, 138.2, 103.0); heads and necks of the others follow from
# them; what deformable convolutions add is derived below; the rest is counted by solo and frozen.
SIZES: dict[str, tuple[tuple[int, int], float, tuple[float, float, float, float]]] = {
    "solov2/solov2_r50_fpn_1x_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    "solov2/solov2_r101_fpn_ms-3x_coco.py": ((800, 1344), 65.59, (334.3, 121.8, 68.2, 140.0)),
    "solov2/solov2-light_r50_fpn_ms-3x_coco.py": ((448, 768), 31.34, (56.1, 39.0, 21.1, 22.0)),
    "solov2/solov2-light_r18_fpn_ms-3x_coco.py": ((448, 768), 18.27, (24.9, 35.0, 21.1, 22.0)),
    "solov2/solov2_r50_fpn_ms-3x_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    "solov2/solov2-light_r34_fpn_ms-3x_coco.py": ((448, 768), 28.38, (50.2, 35.0, 21.1, 22.0)),
    "solov2/solov2_r101-dcn_fpn_ms-3x_coco.py": ((800, 1344), 68.73, (351.2, 121.8, 81.7, 146.7)),
    "solov2/solov2_x101-dcn_fpn_ms-3x_coco.py": ((800, 1344), 113.42, (730.4, 121.8, 81.7, 146.7)),
    "solov2/solov2-light_r50-dcn_fpn_ms-3x_coco.py": ((448, 768), 33.52, (58.6, 39.0, 21.1, 32.1)),
    "solov2/solov2-light_r50-dcnv1_fpn_512-ms-3x_coco.py": ((512, 864), 33.19, (74.3, 50.1, 27.2, 31.8)),
    "solov2/solov2_r50_fpn_8xb8-lsj-200e_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    "solov2/solov2_r50_fpn_8xb8-lsj-copypaste-200e_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    # A caffe-style ResNet strides in its first 1x1 convolution, so that its 3x3 sees a quarter of the pixels.
    # Their parameters are those of mmdetection's models; the heads are derived by hand below.
    "solo/solo_r50_fpn_1x_coco.py": ((800, 1344), 36.30, (175.2, 121.8, 0.0, 363.2)),
    "solo/solo_r50_fpn_3x_coco.py": ((800, 1344), 36.30, (175.2, 121.8, 0.0, 363.2)),
    "solo/solo_r101_fpn_3x_coco.py": ((800, 1344), 55.29, (334.3, 121.8, 0.0, 363.2)),
    "solo/decoupled-solo_r50_fpn_1x_coco.py": ((800, 1344), 40.03, (175.2, 121.8, 0.0, 744.6)),
    "solo/decoupled-solo_r50_fpn_3x_coco.py": ((800, 1344), 40.03, (175.2, 121.8, 0.0, 744.6)),
    "solo/decoupled-solo_r101_fpn_3x_coco.py": ((800, 1344), 59.02, (334.3, 121.8, 0.0, 744.6)),
    "solo/decoupled-solo-light_r50_fpn_3x_coco.py": ((512, 864), 32.35, (72.1, 50.1, 0.0, 118.6)),
    "solo/decoupled-solo-light_r50-dcn_fpn_3x_coco.py": ((512, 864), 33.02, (74.3, 50.1, 0.0, 120.3)),
    "solov2_adelaidet/solov2_r50_fpn_ms-3x_coco.py": ((800, 1344), 46.59, (165.3, 121.8, 68.2, 140.0)),
    "solov2_adelaidet/solov2_r101_fpn_ms-3x_coco.py": ((800, 1344), 65.59, (324.3, 121.8, 68.2, 140.0)),
    "solov2_paddle/solov2_r50_fpn_1x_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    "solov2_paddle/solov2_r50_fpn_ms-3x_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    "solov2_paddle/solov2_r101-vd-dcn_fpn_ms-3x_coco.py": ((800, 1344), 68.75, (361.5, 121.8, 81.7, 146.7)),
    "solov2_paddle/solov2_r50_fpn_90k_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    "solov2_paddle/solov2_r50_fpn_ms-270k_coco.py": ((800, 1344), 46.59, (175.2, 121.8, 68.2, 140.0)),
    "solov2_paddle/solov2_r101-vd-dcn_fpn_ms-270k_coco.py": ((800, 1344), 68.75, (361.5, 121.8, 81.7, 146.7)),
    "solov2_paddle/solov2_r50-enhance_fpn_512-ms-3x_coco.py": ((512, 864), 33.88, (79.6, 50.1, 32.7, 32.1)),
    "solov2_paddle/solov2-light_r50-vd-dcn_fpn_512-ms-3x_coco.py": ((512, 864), 33.54, (79.6, 50.1, 27.2, 32.1)),
    "solov2_paddle/solov2-light_mobilenetv3_fpn_448-ms-3x_coco.py": ((448, 768), 10.32, (3.0, 35.8, 21.1, 22.0)),
    "solov2_rt/solov2-rt_r18-vd_fpn_640-6x_coco.py": ((640, 640), 13.08, (33.5, 10.8, 6.3, 5.1)),
    "solov2_rt/solov2-rt_r34-vd_fpn_512-6x_coco.py": ((512, 512), 23.19, (40.8, 6.9, 4.0, 5.1)),
    "solov2_rt/solov2-rt_hgnetv2-b1_fpn_640-6x_coco.py": ((640, 640), 4.20, (7.9, 11.2, 6.3, 5.1)),
}
COCO = [name for name in SHIPPED if name.startswith("solo")]


@pytest.fixture(autouse=True)
def _default_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_ROOT", raising=False)


@cache
def flops_of(name: str) -> dict[str, int]:
    """Operations of a config's model at its size."""
    skip_without_backbone(name)
    return count_flops(model_on_meta(load_config(CONFIGS / name)), SIZES[name][0])


# ------------------------------------------------------------------------------------------------------------ settings
@pytest.mark.parametrize("name", SHIPPED)
def test_settings_are_the_frozen_ones(name: str) -> None:
    """A changed base shows here. If intended, renew with `python -m tests.helpers.config_snapshots`."""
    frozen = json.loads(snapshot_path(name).read_text())
    now = settings(name)
    changed = {key: (frozen.get(key), now.get(key)) for key in frozen.keys() | now.keys()}
    changed = {key: pair for key, pair in changed.items() if pair[0] != pair[1] or (key in frozen) != (key in now)}
    assert not changed, f"(frozen, now) differ; renew with python -m tests.helpers.config_snapshots: {changed}"


def test_no_snapshot_without_its_config() -> None:
    assert {snapshot_path(name) for name in SHIPPED} == set(SNAPSHOTS.rglob("*.json"))


# ---------------------------------------------------------------------------------------------------------------- size
def test_every_config_has_its_size() -> None:
    assert set(SIZES) == set(COCO)


@pytest.mark.parametrize("name", COCO)
def test_parameters_and_operations(name: str) -> None:
    skip_without_backbone(name)
    size, parameters, gigaflops = SIZES[name]
    config = load_config(CONFIGS / name)
    assert default_size(config) == size
    model = model_on_meta(config)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(parameters, abs=0.005)
    flops = flops_of(name)
    for part, expected in zip(("backbone", "neck", "mask_feature", "head"), gigaflops, strict=True):
        assert flops[part] / 1e9 == pytest.approx(expected, abs=0.051), part
    assert flops["total"] == sum(flops[part] for part in flops if part != "total")


@pytest.mark.parametrize("name", COCO)
def test_table_of_models_states_them(name: str) -> None:
    table = (ROOT / "docs/model_zoo.md").read_text(encoding="utf-8")
    (row,) = (line.split(" | ") for line in table.splitlines() if line.startswith(f"| `{name}` |"))
    assert row[1:3] == [f"{SIZES[name][1]:.2f}", f"{flops_of(name)['total'] / 1e9:.1f}"]


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("solov2/solov2_r50_fpn_1x_coco.py", 505.1),
        ("solov2/solov2_r101_fpn_ms-3x_coco.py", 664.2),
        ("solov2/solov2-light_r50_fpn_ms-3x_coco.py", 138.2),
        ("solov2/solov2-light_r18_fpn_ms-3x_coco.py", 103.0),
    ],
)
def test_totals_are_those_of_mmdetections_models(name: str, total: float) -> None:
    assert flops_of(name)["total"] / 1e9 == pytest.approx(total, abs=0.05)


def offset_flops(convs: list[tuple[int, int, int]], *, values: int = 3, taps: int = 9) -> int:
    """Operations that place the samples of (times, in channels, output pixels) deformable convolutions."""
    return sum(times * 2 * channels * taps * values * taps * pixels for times, channels, pixels in convs)


def test_what_deformable_convolutions_add_by_hand() -> None:
    """Offsets and nothing else: the deformable convolution itself costs what the plain one does."""
    before, after = (flops_of(f"solov2/solov2_{name}_fpn_ms-3x_coco.py") for name in ("r101", "r101-dcn"))
    added = {part: after[part] - before[part] for part in before}
    p2, p3, p4, p5 = 200 * 336, 100 * 168, 50 * 84, 25 * 42
    assert added["neck"] == 0
    assert added["backbone"] == offset_flops([(4, 128, p3), (23, 256, p4), (3, 512, p5)])
    assert added["head"] == offset_flops([(1, 256, CELLS), (1, 258, CELLS), (6, 512, CELLS)])
    towers = [(1, 256, p2), (1, 256, p3), (1, 256, p4), (1, 128, p3), (1, 258, p5), (1, 128, p4), (1, 128, p3)]
    assert added["mask_feature"] == offset_flops(towers) + offset_flops([(1, 128, p2)], taps=1)


def conv_flops(convs: list[tuple[int, int, int]], *, taps: int = 9) -> int:
    """Operations of (in channels, out channels, output pixels) convolutions."""
    return sum(2 * taps * inner * outer * pixels for inner, outer, pixels in convs)


def tower_flops(channels: int, *, convs: int, pixels: int) -> int:
    return conv_flops([(channels, 256, pixels), *[(256, 256, pixels)] * (convs - 1)])


def test_heads_of_solo_by_hand() -> None:
    """Category tower on the cells, mask towers at strides 8, 8, 16, 32, 32; channels are read at twice the size.

    SOLO's own read, a 1x1 convolution to a channel a cell, is left to the mask decoder: none of it is counted.
    """
    sides, strides = (40, 36, 24, 16, 12), (8, 8, 16, 32, 32)
    classes = tower_flops(256, convs=7, pixels=CELLS) + conv_flops([(256, 80, CELLS)])
    maps = [(800 // stride) * (1344 // stride) for stride in strides]
    solo = classes + sum(tower_flops(258, convs=7, pixels=pixels) for pixels in maps)
    assert flops_of("solo/solo_r50_fpn_1x_coco.py")["head"] == solo
    read = sum(conv_flops([(256, 2 * side, 4 * pixels)]) for side, pixels in zip(sides, maps, strict=True))
    decoupled = classes + read + 2 * sum(tower_flops(257, convs=7, pixels=pixels) for pixels in maps)
    assert flops_of("solo/decoupled-solo_r50_fpn_1x_coco.py")["head"] == decoupled

    maps = [(512 // stride) * (864 // stride) for stride in strides]
    light = tower_flops(256, convs=4, pixels=CELLS) + conv_flops([(256, 80, CELLS)])
    light += sum(tower_flops(258, convs=4, pixels=pixels) for pixels in maps)
    light += sum(conv_flops([(256, 2 * side, 4 * pixels)]) for side, pixels in zip(sides, maps, strict=True))
    assert flops_of("solo/decoupled-solo-light_r50_fpn_3x_coco.py")["head"] == light
    deformable = flops_of("solo/decoupled-solo-light_r50-dcn_fpn_3x_coco.py")["head"]
    assert deformable - light == offset_flops([(1, 256, CELLS), (1, 256, sum(maps))], values=2)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("solo_r50_fpn_1x", 36_301_232),
        ("decoupled-solo_r50_fpn_1x", 40_028_560),
        ("decoupled-solo-light_r50_fpn_3x", 32_354_192),
    ],
)
def test_parameters_are_those_of_mmdetections_models(name: str, parameters: int) -> None:
    model = model_on_meta(load_config(CONFIGS / f"solo/{name}_coco.py"))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


RT = [name for name in COCO if name.startswith("solov2_rt/")]


@pytest.mark.parametrize("name", RT)
def test_real_time_models_keep_their_budget(name: str) -> None:
    (height, width), _, gigaflops = SIZES[name]
    assert 512 <= height == width <= 640
    assert sum(gigaflops) < 60


def test_version_1_has_two_values_a_tap() -> None:
    """The paper's light model at 512 x 864: 180.5 without deformable convolutions, then their offsets."""
    total = flops_of("solov2/solov2-light_r50-dcnv1_fpn_512-ms-3x_coco.py")["total"]
    p3, p4, p5 = 64 * 108, 32 * 54, 16 * 27
    offsets = offset_flops([(4, 128, p3), (6, 256, p4), (3, 512, p5), (2, 256, CELLS)], values=2)
    assert (total - offsets) / 1e9 == pytest.approx(180.5, abs=0.05)


def test_description() -> None:
    config = load_config(CONFIGS / "solov2/solov2_r50_fpn_1x_coco.py")
    lines = [line.split() for line in describe_model(config).splitlines()]
    assert lines[0] == ["input", "800", "x", "1344"]
    assert lines[-1] == ["total", "46.59", "505.1"]
    half = describe_model(config, (416, 672)).splitlines()
    assert half[2].split() == ["backbone", "23.51", "45.5"]
    with pytest.raises(ConfigError, match="at least one pixel; got 0 x 8"):
        describe_model(config, (0, 8))


# -------------------------------------------------------------------------------------------------------------- photos
def dicts_of(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict inside a config."""
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts_of(value)


def reduced(name: str, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A config without downloads, on images of about 128 x 160 and a quarter of the cells."""
    monkeypatch.setenv("DATA_ROOT", f"{data_root}/")
    config = load_config(CONFIGS / name)
    start_from_random_weights(config)
    config.model.grid.num_grids = [side // 2 for side in config.model.grid.num_grids]
    sizes = {
        "mmdet.Resize": ("scale", (160, 128)),
        "RandomResize": ("scale", (160, 160)),
        "RandomChoiceResize": ("scales", [(160, 128), (160, 112)]),
        "mmdet.RandomCrop": ("crop_size", (160, 160)),
        "mmdet.Pad": ("size", (160, 160)),
    }
    for part in dicts_of(config._cfg_dict):
        if part.get("type") in sizes:
            key, size = sizes[part["type"]]
            part[key] = size
    if config.model.data_preprocessor.get("padded_sizes"):
        config.model.data_preprocessor.padded_sizes = [(160, 160)]
    return config


def assert_what_has_a_rate_has_moved(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, before: dict[str, torch.Tensor]
) -> None:
    fixed = {id(p) for group in optimizer.param_groups if not group["lr"] for p in group["params"]}
    after = {name: value for name, value in model.named_parameters() if name in before}
    assert all(value.isfinite().all() for value in after.values())
    same = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert {name for name, value in after.items() if id(value) in fixed} <= same
    # Without ImageNet weights residual branches start at zero, so layers before them may have no gradient yet.
    assert {name.partition(".")[0] for name in same} <= {"backbone"}
    assert len(same) < 0.5 * len(after)


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", COCO)
def test_trains_two_steps_and_predicts_on_photos(name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_backbone(name)
    config = reduced(name, shared_data / "coco_mini", monkeypatch)
    init_default_scope("solo")
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = MODELS.build(config.model)
        model.init_weights()
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        train, test = (DATASETS.build(config[f"{split}_dataloader"].dataset) for split in ("train", "test"))
        before = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
        model.train()
        for step in range(2):
            losses = model.train_step(pseudo_collate([train[2 * step], train[2 * step + 1]]), wrapper)
            assert all(value.isfinite() for value in losses.values())
        assert_what_has_a_rate_has_moved(model, wrapper.optimizer, before)
        model.eval()
        model.postprocess.score_thr = 0.0
        (result,) = model.test_step(pseudo_collate([test[0]]))
        found = result.pred_instances
        assert len(found.labels) == len(found.scores) == len(found.masks) == len(found.bboxes)
        assert tuple(found.masks.shape[1:]) == tuple(result.ori_shape)
    finally:
        torch.set_num_threads(threads)
