"""PaddleDetection's recipes: models, schedules, data, rates and what is frozen, as their yml files state them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from solo.checkpoints.fitting import model_on_meta
from solo.config import load_config
from solo.models.layers import DeformConv2d
from tests.helpers.paths import CONFIGS
from tests.helpers.recipes import FULL_RANGES, LIGHT_RANGES, step

PADDLE = CONFIGS / "solov2_paddle"
SSD_RANGES = [(1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)]
STEPS_2 = ["LoadImage", "LoadInstances", "RandomChoiceResize", "mmdet.RandomFlip", "PackSample"]
STEPS_LIGHT = [*STEPS_2[:2], "RandomDistort", "RandomOverlapCrop", *STEPS_2[2:]]


class PaddleRecipe(NamedTuple):
    """One of PaddleDetection's configs, as its yml files state it."""

    backbone: dict[str, Any]
    tower: tuple[int, int]
    mask_channels: int
    ranges: list[tuple[int, int]]
    scales: tuple[int, list[int]]  # longest side, short sides
    test_scale: tuple[int, int]
    milestones: list[int]
    length: int  # epochs, or iterations
    warm_up: int = 1000
    ema: float | None = None
    drops_blocks: bool = False
    lr: float = 0.01
    batch_size: int = 2


_R50 = dict(type="mmdet.ResNet", depth=50, frozen_stages=1, norm_eval=True)
_VD50 = dict(type="mmdet.ResNetV1d", depth=50, frozen_stages=-1, norm_eval=False)
_FULL_SHORT, _LIGHT_SHORT = [640, 672, 704, 736, 768, 800], [352, 384, 416, 448, 480, 512]
_R50_FULL = PaddleRecipe(_R50, (4, 512), 256, FULL_RANGES, (1333, _FULL_SHORT), (1333, 800), [24, 33], 36)
_R50_ONE_SCALE = _R50_FULL._replace(scales=(1333, [800]))
_R101_FULL = _R50_FULL._replace(backbone={**_VD50, "depth": 101, "frozen_stages": 1, "norm_eval": True}, ema=0.9998)
_SMALL = PaddleRecipe(
    _VD50,
    (3, 256),
    128,
    FULL_RANGES,
    (852, _LIGHT_SHORT),
    (852, 512),
    [24, 33],
    36,
    ema=0.9998,
    drops_blocks=True,
)
_270K: dict[str, Any] = dict(milestones=[180_000, 240_000], length=270_000)
PADDLE_RECIPES = {
    "solov2_r50_fpn_1x_coco": _R50_ONE_SCALE._replace(milestones=[8, 11], length=12),
    "solov2_r50_fpn_ms-3x_coco": _R50_FULL,
    "solov2_r101-vd-dcn_fpn_ms-3x_coco": _R101_FULL._replace(warm_up=2000),
    "solov2_r50_fpn_90k_coco": _R50_ONE_SCALE._replace(milestones=[60_000, 80_000], length=90_000),
    "solov2_r50_fpn_ms-270k_coco": _R50_FULL._replace(**_270K),
    "solov2_r101-vd-dcn_fpn_ms-270k_coco": _R101_FULL._replace(**_270K),
    "solov2_r50-enhance_fpn_512-ms-3x_coco": _SMALL,
    "solov2-light_r50-vd-dcn_fpn_512-ms-3x_coco": _SMALL._replace(ranges=SSD_RANGES, **_270K),
    "solov2-light_mobilenetv3_fpn_448-ms-3x_coco": _SMALL._replace(
        backbone=dict(type="MobileNetV3", freeze_norm=True),
        tower=(2, 256),
        ranges=LIGHT_RANGES,
        scales=(768, _LIGHT_SHORT),
        test_scale=(768, 448),
        milestones=[90_000, 120_000],
        length=135_000,
        lr=0.02,
        batch_size=4,
    ),
}


def test_every_config_of_paddle_has_its_row() -> None:
    assert {path.stem for path in PADDLE.glob("*.py")} == set(PADDLE_RECIPES)


@pytest.fixture(params=sorted(PADDLE_RECIPES))
def paddle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[PaddleRecipe, Config]:
    monkeypatch.delenv("DATA_ROOT", raising=False)
    return PADDLE_RECIPES[request.param], load_config(PADDLE / f"{request.param}.py")


def test_paddles_models(paddle: tuple[PaddleRecipe, Config]) -> None:
    recipe, config = paddle
    model = config.model
    assert {key: model.backbone[key] for key in recipe.backbone} == recipe.backbone
    assert (model.head.num_convs, model.head.feat_channels) == recipe.tower
    assert (model.mask_feature.feat_channels, model.mask_feature.out_channels) == (128, recipe.mask_channels)
    assert [tuple(scale_range) for scale_range in model.grid.scale_ranges] == recipe.ranges
    assert model.grid.num_grids == [40, 36, 24, 16, 12]
    assert model.head.get("drop_block") == (dict(block_size=3, keep_prob=0.9) if recipe.drops_blocks else None)
    assert model.criterion.mask_loss_norm == "nonempty"
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53] and model.data_preprocessor.bgr_to_rgb


def test_paddles_schedules(paddle: tuple[PaddleRecipe, Config]) -> None:
    recipe, config = paddle
    by_epoch = recipe.length < 1000
    warm_up, steps = config.param_scheduler
    assert warm_up == dict(
        type="LinearLR", start_factor=1 / recipe.warm_up, by_epoch=False, begin=0, end=recipe.warm_up
    )
    assert (steps.milestones, steps.end, steps.by_epoch) == (recipe.milestones, recipe.length, by_epoch)
    assert config.train_cfg["max_epochs" if by_epoch else "max_iters"] == recipe.length
    assert config.default_hooks.checkpoint.get("by_epoch", True) is config.log_processor.by_epoch is by_epoch
    wrapper = config.optim_wrapper
    assert wrapper.optimizer == dict(type="SGD", lr=recipe.lr, momentum=0.9, weight_decay=1e-4)
    assert "clip_grad" not in wrapper and wrapper.paramwise_cfg.norm_decay_mult == 0.0
    assert config.auto_scale_lr.base_batch_size == 8 * recipe.batch_size
    averages = [hook.decay for hook in config.custom_hooks if hook.type == "BiasCorrectedEMAHook"]
    assert averages == ([recipe.ema] if recipe.ema else [])


def test_paddles_data(paddle: tuple[PaddleRecipe, Config]) -> None:
    recipe, config = paddle
    train, pipeline = config.train_dataloader, config.train_dataloader.dataset.pipeline
    resize = step(pipeline, "RandomChoiceResize", "mmdet.Resize")
    long_side, short_sides = recipe.scales
    scales = resize.get("scales") or [resize.scale]
    assert sorted(map(tuple, scales)) == [(long_side, short) for short in short_sides]
    expected = STEPS_LIGHT if recipe.drops_blocks else STEPS_2
    assert [part.type for part in pipeline] == [resize.type if "Resize" in name else name for name in expected]
    assert train.batch_sampler is None and train.batch_size == recipe.batch_size
    assert train.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=0)
    assert train.sampler.type == ("DefaultSampler" if recipe.length < 1000 else "InfiniteSampler")
    assert step(config.test_dataloader.dataset.pipeline, "mmdet.Resize").scale == recipe.test_scale
    assert config.val_dataloader == config.test_dataloader


def paddle_config(name: str) -> Config:
    return load_config(PADDLE / f"{name}.py")


def settings_by_name(config: Config) -> dict[str, tuple[float, float]]:
    """(learning rate, decay) of each trained parameter."""
    model = model_on_meta(config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "solov2_r50_fpn_1x_coco",
            {
                "backbone.layer2.0.conv1.weight": (0.01, 1e-4),
                "neck.fpn_convs.0.conv.bias": (0.01, 1e-4),
                "head.kernel_tower.0.norm.weight": (0.01, 0.0),
            },
        ),
        (
            "solov2_r101-vd-dcn_fpn_ms-3x_coco",
            {
                "backbone.layer3.0.conv2.conv_offset.bias": (0.01, 1e-4),
                "mask_feature.predictor.conv.bias": (0.02, 0.0),
                "head.kernel_tower.3.conv.conv_offset.bias": (0.02, 0.0),
                "head.kernel_tower.3.conv.conv_offset.weight": (0.01, 1e-4),
                "neck.lateral_convs.1.conv.bias": (0.01, 1e-4),
                "head.category_predictor.bias": (0.01, 1e-4),
            },
        ),
        (
            "solov2_r101-vd-dcn_fpn_ms-270k_coco",
            {
                "backbone.layer3.0.conv2.conv_offset.bias": (0.01, 1e-4),
                "head.kernel_tower.3.conv.conv_offset.bias": (0.01, 1e-4),
                "head.kernel_tower.3.norm.weight": (0.01, 0.0),
            },
        ),
        (
            "solov2_r50-enhance_fpn_512-ms-3x_coco",
            {
                "backbone.stem.0.weight": (0.0, 0.0),
                "backbone.layer1.2.bn3.weight": (0.0, 0.0),
                "backbone.layer2.0.conv1.weight": (0.0005, 1e-4),
                "backbone.layer3.0.downsample.2.weight": (0.001, 0.0),
                "backbone.layer4.2.conv2.weight": (0.0015, 1e-4),
                "backbone.layer4.2.conv2.conv_offset.weight": (0.01, 1e-4),
                "head.category_tower.2.conv.bias": (0.02, 0.0),
            },
        ),
        (
            "solov2-light_r50-vd-dcn_fpn_512-ms-3x_coco",
            {
                "backbone.stem.0.weight": (0.0005, 1e-4),
                "backbone.layer1.0.bn1.weight": (0.0005, 0.0),
                "backbone.layer4.0.conv2.conv_offset.bias": (0.01, 1e-4),
                "head.kernel_tower.2.conv.conv_offset.bias": (0.01, 1e-4),
            },
        ),
        (
            "solov2-light_mobilenetv3_fpn_448-ms-3x_coco",
            {
                "backbone.conv1.conv.weight": (0.005, 1e-5),
                "backbone.blocks.5.gate.squeeze.bias": (0.005, 1e-5),
                "backbone.blocks.6.expand.conv.weight": (0.01, 1e-5),
                "backbone.blocks.14.linear.conv.weight": (0.015, 1e-5),
                "backbone.conv_last.conv.weight": (0.015, 1e-5),
                "neck.lateral_convs.0.conv.weight": (0.02, 1e-4),
            },
        ),
    ],
)
def test_paddles_rates_and_decays(name: str, expected: dict[str, tuple[float, float]]) -> None:
    found = settings_by_name(paddle_config(name))
    for parameter, pair in expected.items():
        assert found[parameter] == pytest.approx(pair), parameter


def test_what_paddle_freezes() -> None:
    """Normalisation is frozen, except in the two light ResNets, where it is synchronised."""
    for name in PADDLE_RECIPES:
        trained = settings_by_name(paddle_config(name))
        norms = [key for key in trained if key.startswith("backbone.") and ("bn" in key or "stem.1." in key)]
        assert bool(norms) == ("r50-" in name), name
    model = model_on_meta(paddle_config("solov2_r50-enhance_fpn_512-ms-3x_coco")).train()
    norms = [part for part in model.backbone.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(part, torch.nn.SyncBatchNorm) and part.training for part in norms)


def test_paddles_warm_up_climbs_by_a_thousandth_of_the_rate_an_iteration() -> None:
    config = paddle_config("solov2_r50_fpn_1x_coco")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.01)
    warm_up = PARAM_SCHEDULERS.build({**config.param_scheduler[0], "optimizer": optimizer})
    rates = []
    for _ in range(1002):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        warm_up.step()
    assert rates[:3] == pytest.approx([1e-5, 2e-5, 3e-5])
    assert rates[500] == pytest.approx(501e-5)
    assert rates[999:] == pytest.approx([0.01] * 3)


def test_which_deformable_convolutions_of_paddle_have_a_bias() -> None:
    """Those of 2.x outside the backbone; those of 0.5 have none anywhere."""
    for name in ("solov2_r101-vd-dcn_fpn_ms-3x_coco", "solov2_r101-vd-dcn_fpn_ms-270k_coco"):
        model = model_on_meta(paddle_config(name))
        biased = [
            key for key, part in model.named_modules() if isinstance(part, DeformConv2d) and part.bias is not None
        ]
        assert len(biased) == (8 + 8 if name.endswith("3x_coco") else 0)
        assert not any(key.startswith("backbone.") for key in biased)
