"""The released configs: each loads, its model builds, and its settings are those of the published implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from mmengine.config import Config

from solo.config import load_config
from solo.models import SOLOv2
from solo.models.layers import DeformConv2d
from solo.registry import MODELS
from solo.structures import SOLOv2Outputs
from tests.helpers.paths import CONFIGS
from tests.helpers.recipes import FULL_RANGES, LIGHT_RANGES, step

FOLDER = CONFIGS / "solov2"

FULL_SCALES = [(1333, short) for short in (800, 768, 736, 704, 672, 640)]
LIGHT_SCALES = [(768, short) for short in (512, 480, 448, 416, 384, 352)]
NARROW, WIDE = [64, 128, 256, 512], [256, 512, 1024, 2048]


class Published(NamedTuple):
    """One row of the authors' table of configs."""

    depth: int
    weights: str
    neck_in: list[int]
    tower: tuple[int, int]  # convolutions, channels
    mask_channels: int
    ranges: list[tuple[int, int]]
    train_scales: list[tuple[int, int]]
    test_scale: tuple[int, int]
    epochs: int
    milestones: list[int]
    dcn: str | None = None  # the deformable convolutions of the backbone's last three stages
    deformable_convs: tuple[int, ...] = ()  # of the towers
    mask_dcn: bool = False
    groups: int = 1


_FULL_3X = (WIDE, (4, 512), 256, FULL_RANGES, FULL_SCALES, (1333, 800), 36, [27, 33])
_LIGHT_3X = ((2, 256), 128, LIGHT_RANGES, LIGHT_SCALES, (768, 448), 36, [27, 33])
_FULL_DCN: dict[str, Any] = dict(dcn="DCNv2", deformable_convs=(0, 1, 2, 3), mask_dcn=True)

PUBLISHED = {
    "solov2_r50_fpn_1x_coco": Published(
        50, "resnet50-0676ba61.pth", WIDE, (4, 512), 256, FULL_RANGES, [(1333, 800)], (1333, 800), 12, [9, 11]
    ),
    "solov2_r50_fpn_ms-3x_coco": Published(50, "resnet50-0676ba61.pth", *_FULL_3X),
    "solov2_r101_fpn_ms-3x_coco": Published(101, "resnet101-63fe2227.pth", *_FULL_3X),
    "solov2-light_r18_fpn_ms-3x_coco": Published(18, "resnet18-f37072fd.pth", NARROW, *_LIGHT_3X),
    "solov2-light_r34_fpn_ms-3x_coco": Published(34, "resnet34-b627a593.pth", NARROW, *_LIGHT_3X),
    "solov2-light_r50_fpn_ms-3x_coco": Published(50, "resnet50-0676ba61.pth", WIDE, *_LIGHT_3X),
    "solov2_r101-dcn_fpn_ms-3x_coco": Published(101, "resnet101-63fe2227.pth", *_FULL_3X, **_FULL_DCN),
    "solov2_x101-dcn_fpn_ms-3x_coco": Published(
        101, "resnext101_64x4d-ee2c6f71.pth", *_FULL_3X, **_FULL_DCN, groups=64
    ),
    # mmdetection's; the paper's is the next.
    "solov2-light_r50-dcn_fpn_ms-3x_coco": Published(
        50,
        "resnet50-0676ba61.pth",
        WIDE,
        (3, 256),
        *_LIGHT_3X[1:],
        dcn="DCNv2",
        deformable_convs=(2,),
    ),
    "solov2-light_r50-dcnv1_fpn_512-ms-3x_coco": Published(
        50,
        "resnet50-0676ba61.pth",
        WIDE,
        (3, 256),
        128,
        [(1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)],
        [(852, short) for _, short in LIGHT_SCALES],
        (852, 512),
        36,
        [27, 33],
        dcn="DCN",
        deformable_convs=(2,),
    ),
}

# Recipes for the same models that the authors do not have.
JITTERED = {"solov2_r50_fpn_8xb8-lsj-200e_coco", "solov2_r50_fpn_8xb8-lsj-copypaste-200e_coco"}

SPLITS = {"train_dataloader": "train2017", "val_dataloader": "val2017", "test_dataloader": "val2017"}


def test_every_config_has_its_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PUBLISHED) | JITTERED


@pytest.fixture(params=sorted(PUBLISHED))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(name: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.delenv("DATA_ROOT", raising=False)
    return Config.fromfile(FOLDER / f"{name}.py")


def test_our_own_check_passes(name: str) -> None:
    assert load_config(FOLDER / f"{name}.py").default_scope == "solo"


def test_model_settings(name: str, config: Config) -> None:
    published, model = PUBLISHED[name], config.model
    assert model.num_classes == 80
    assert model.data_preprocessor == dict(
        type="ImagePreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    )
    deformable = dict(type=f"solo.{published.dcn}", deform_groups=1, fallback_on_stride=False)
    assert model.backbone == dict(
        type="mmdet.ResNet" if published.groups == 1 else "mmdet.ResNeXt",
        depth=published.depth,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_eval=True,
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint=f"imagenet://{published.weights}"),
        **(dict(dcn=deformable, stage_with_dcn=(False, True, True, True)) if published.dcn else {}),
        **(dict(groups=published.groups, base_width=4) if published.groups > 1 else {}),
    )
    assert model.neck == dict(
        type="mmdet.FPN", in_channels=published.neck_in, out_channels=256, start_level=0, num_outs=5
    )
    assert model.grid.num_grids == [40, 36, 24, 16, 12]
    assert model.grid.strides == [8, 8, 16, 32, 32]
    assert [tuple(scale_range) for scale_range in model.grid.scale_ranges] == published.ranges
    assert (model.head.num_convs, model.head.feat_channels) == published.tower
    assert (model.mask_feature.feat_channels, model.mask_feature.out_channels) == (128, published.mask_channels)


def test_built_model_settings(name: str, config: Config) -> None:
    """Settings of the built model, with the defaults of its classes; built on the meta device to save memory."""
    published = PUBLISHED[name]
    config.model.backbone.init_cfg = None
    with torch.device("meta"):
        model: SOLOv2 = MODELS.build(config.model)
    assert model.num_classes == 80
    assert model.assigner.pos_scale == 0.2
    assert model.assigner.shared_cell == "later"
    focal, dice = model.criterion.loss_cls, model.criterion.loss_mask
    assert (focal.alpha, focal.gamma, focal.loss_weight) == (0.25, 2.0, 1.0)
    assert (dice.eps, dice.loss_weight) == (1e-3, 3.0)
    assert model.criterion.mask_loss_norm == "targets"
    limits = model.postprocess
    assert (limits.score_thr, limits.mask_thr, limits.filter_thr, limits.min_area_factor) == (0.1, 0.5, 0.05, 1.0)
    assert (limits.nms_pre, limits.max_per_img) == (500, 100)
    assert (limits.nms.kernel, limits.nms.sigma) == ("gaussian", 2.0)
    assert_deformable_where_published(model, published)
    assert len(model.head.kernel_tower) == len(model.head.category_tower) == published.tower[0]
    assert model.head.kernel_predictor.weight.shape == (published.mask_channels, published.tower[1], 3, 3)
    assert model.head.category_predictor.weight.shape == (80, published.tower[1], 3, 3)
    groups = {m.num_groups for m in model.modules() if isinstance(m, torch.nn.GroupNorm)}
    assert groups == {32}
    frozen = {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}


def assert_deformable_where_published(model: SOLOv2, published: Published) -> None:
    """Modulated in version 2 alone, one deformable group, no bias but that of the offsets."""
    convs = {name: part for name, part in model.named_modules() if isinstance(part, DeformConv2d)}
    assert {part.modulated for part in convs.values()} <= {published.dcn == "DCNv2"}
    assert all(part.deform_groups == 1 and part.bias is None for part in convs.values())
    stages = {name.split(".")[1] for name in convs if name.startswith("backbone.")}
    assert stages == ({"layer2", "layer3", "layer4"} if published.dcn else set())
    for tower in ("category_tower", "kernel_tower"):
        indices = [name.split(".")[2] for name in convs if name.startswith(f"head.{tower}.")]
        assert tuple(map(int, indices)) == published.deformable_convs
    # One in the finest level, one, two and three in the others, and the projection.
    assert sum(name.startswith("mask_feature.") for name in convs) == (8 if published.mask_dcn else 0)


def test_shapes_at_the_test_scale(name: str, config: Config) -> None:
    """The whole network runs on the meta device."""
    config.model.backbone.init_cfg = None
    long_side, short_side = PUBLISHED[name].test_scale
    height, width = short_side // 32 * 32, -(-long_side // 32) * 32
    with torch.device("meta"):
        model = MODELS.build(config.model).eval()
        outputs: SOLOv2Outputs = model(torch.empty(1, 3, height, width))
    channels = PUBLISHED[name].mask_channels
    assert outputs.cls_logits.shape == (1, 3872, 80)
    assert outputs.kernels.shape == (1, 3872, channels)
    assert outputs.mask_feats.shape == (1, channels, height // 4, width // 4)


def test_schedule(name: str, config: Config) -> None:
    published = PUBLISHED[name]
    assert config.train_cfg == dict(type="EpochBasedTrainLoop", max_epochs=published.epochs, val_interval=1)
    warm_up, steps = config.param_scheduler
    assert warm_up == dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500)
    assert steps == dict(
        type="MultiStepLR", by_epoch=True, begin=0, end=published.epochs, milestones=published.milestones, gamma=0.1
    )
    assert config.optim_wrapper == dict(
        type="OptimWrapper",
        optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
        clip_grad=dict(max_norm=35, norm_type=2),
    )
    assert config.auto_scale_lr == dict(enable=False, base_batch_size=16)


def test_pipelines(name: str, config: Config) -> None:
    published = PUBLISHED[name]
    train, test = (config[loader].dataset.pipeline for loader in ("train_dataloader", "test_dataloader"))
    resize = step(train, "RandomChoiceResize", "mmdet.Resize")
    scales = [tuple(scale) for scale in resize.get("scales") or [resize["scale"]]]
    assert scales == published.train_scales
    assert resize["keep_ratio"] is True
    assert resize.get("resize_type", "mmdet.Resize") == "mmdet.Resize"
    assert step(train, "mmdet.RandomFlip")["prob"] == 0.5
    assert step(train, "LoadInstances") == dict(type="LoadInstances")
    assert [step["type"] for step in test] == ["LoadImage", "mmdet.Resize", "PackSample"]
    assert step(test, "mmdet.Resize") == dict(type="mmdet.Resize", scale=published.test_scale, keep_ratio=True)
    assert config.val_dataloader.dataset.pipeline == test
    assert config.train_pipeline == train and config.test_pipeline == test


def test_loaders(config: Config) -> None:
    train, val, test = (config[loader] for loader in SPLITS)
    assert (train.batch_size, val.batch_size, test.batch_size) == (2, 1, 1)
    assert train.sampler.shuffle is True and val.sampler.shuffle is False
    assert train.batch_sampler == dict(type="mmdet.AspectRatioBatchSampler")
    assert train.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=32)
    assert val.dataset.test_mode is True
    assert val == test
    assert config.val_evaluator == config.test_evaluator == dict(type="CocoMaskMetric")


@pytest.mark.parametrize("data_root", [None, "/somewhere/else/", "relative"])
def test_one_variable_moves_all_splits(
    name: str, data_root: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if data_root is None:
        monkeypatch.delenv("DATA_ROOT", raising=False)
    else:
        monkeypatch.setenv("DATA_ROOT", data_root)
    monkeypatch.chdir(tmp_path)
    config = load_config(FOLDER / f"{name}.py")
    for loader, split in SPLITS.items():
        dataset = config[loader].dataset
        assert dataset.data_root == (data_root or "data/coco/")
        assert dataset.ann_file == f"annotations/instances_{split}.json"
        assert dataset.data_prefix == dict(img=f"{split}/")
    assert not list(tmp_path.iterdir())


def paths_of(key: str, node: Any, path: str = "") -> list[str]:
    """Paths of a key in a config."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    found = [f"{path}{name}" for name, _ in entries if name == key]
    return found + [path_below for name, value in entries for path_below in paths_of(key, value, f"{path}{name}.")]


def test_number_of_classes_is_stated_once(name: str) -> None:
    config = load_config(FOLDER / f"{name}.py", {"model.num_classes": 3, "model.backbone.init_cfg": None})
    assert paths_of("num_classes", config.to_dict()) == ["model.num_classes"]
    with torch.device("meta"):
        model = MODELS.build(config.model)
    assert model.num_classes == model.assigner.num_classes == model.criterion.num_classes == 3
    assert len(model.head.category_predictor.weight) == 3


@pytest.mark.parametrize("jittered", sorted(JITTERED))
def test_large_scale_jitter(jittered: str) -> None:
    """mmdetection's solo_r50_fpn_8xb8-lsj-200e_coco: 25 x 8 epochs, steps after 22 x 8 and 24 x 8 of them."""
    config, plain = (load_config(FOLDER / f"{name}.py") for name in (jittered, "solov2_r50_fpn_1x_coco"))
    resize, crop, small = (
        step(config.train_pipeline if "CopyPaste" not in str(config.train_pipeline) else config.jitter, name)
        for name in ("RandomResize", "mmdet.RandomCrop", "mmdet.FilterAnnotations")
    )
    assert (resize.scale, resize.ratio_range, resize.keep_ratio) == ((1024, 1024), (0.1, 2.0), True)
    assert (crop.crop_type, crop.crop_size) == ("absolute_range", (1024, 1024))
    assert crop.recompute_bbox and crop.allow_negative_crop
    assert small.min_gt_bbox_wh == (0.01, 0.01)
    assert config.train_cfg == dict(type="EpochBasedTrainLoop", max_epochs=200, val_interval=40)
    warm_up, steps = config.param_scheduler
    assert (warm_up.start_factor, warm_up.end) == (0.067, 1000)
    assert (steps.milestones, steps.end) == ([176, 192], 200)
    assert config.optim_wrapper.optimizer == dict(type="SGD", lr=0.04, momentum=0.9, weight_decay=4e-5)
    assert config.optim_wrapper.clip_grad == dict(max_norm=35, norm_type=2)
    assert (config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size) == (8, 64)
    assert config.train_dataloader.dataset.type == "CocoInstances"
    assert config.test_dataloader == plain.test_dataloader
    assert dict(config.model, data_preprocessor=None) == dict(plain.model, data_preprocessor=None)


def test_images_of_copy_and_paste_are_jittered_alike_and_of_one_size() -> None:
    names = ("solov2_r50_fpn_8xb8-lsj-200e_coco", "solov2_r50_fpn_8xb8-lsj-copypaste-200e_coco")
    jitter, pasting = (load_config(FOLDER / f"{name}.py") for name in names)
    assert jitter.model.data_preprocessor.padded_sizes == [(1024, 1024)]
    *image, paste, pack = pasting.train_dataloader.dataset.pipeline
    assert image == [*jitter.train_pipeline[:-1], dict(type="mmdet.Pad", size=(1024, 1024))]
    assert paste == dict(type="CopyPaste", pipeline=image, max_num_pasted=100)
    assert pack == jitter.train_pipeline[-1] == dict(type="PackSample")


@pytest.mark.parametrize(
    ("name", "depth", "weights"),
    [
        ("solov2_r50_fpn_ms-3x_coco", 50, "resnet50_msra-5891d200.pth"),
        ("solov2_r101_fpn_ms-3x_coco", 101, "resnet101_msra-6cc46731.pth"),
    ],
)
def test_adelaidets_recipe(name: str, depth: int, weights: str) -> None:
    """Base-SOLOv2.yaml and R50_3x.yaml / R101_3x.yaml, with detectron2's defaults."""
    config = load_config(CONFIGS / "solov2_adelaidet" / f"{name}.py")
    model = config.model
    assert model.data_preprocessor == dict(
        type="ImagePreprocessor", mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False
    )
    assert (model.backbone.depth, model.backbone.style, model.backbone.frozen_stages) == (depth, "caffe", 1)
    assert model.backbone.init_cfg.checkpoint == f"imagenet://{weights}"
    assert (model.head.num_convs, model.head.feat_channels, model.mask_feature.out_channels) == (4, 512, 256)
    assert [tuple(scale_range) for scale_range in model.grid.scale_ranges] == FULL_RANGES
    assert model.criterion.mask_loss_norm == "targets"
    assert config.train_cfg.type == "IterBasedTrainLoop" and config.train_cfg.max_iters == 270_000
    warm_up, steps = config.param_scheduler
    assert (warm_up.start_factor, warm_up.begin, warm_up.end, warm_up.by_epoch) == (0.01, 0, 1000, False)
    assert (steps.milestones, steps.gamma, steps.by_epoch) == ([210_000, 250_000], 0.1, False)
    assert config.optim_wrapper == dict(
        type="OptimWrapper",
        optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
        paramwise_cfg=dict(norm_decay_mult=0.0),
    )
    assert config.train_dataloader.sampler == dict(type="InfiniteSampler", shuffle=True)
    assert config.train_dataloader.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=0)
    assert config.default_hooks.checkpoint.by_epoch is False and config.log_processor.by_epoch is False
    scales = step(config.train_dataloader.dataset.pipeline, "RandomChoiceResize").scales
    assert [tuple(scale) for scale in scales] == FULL_SCALES
    assert step(config.test_dataloader.dataset.pipeline, "mmdet.Resize").scale == (1333, 800)
