# PaddleDetection 0.5's solov2_mobilenetv3_fpn_448_3x, 30.0 mask AP there: MobileNetV3-large, 4 images a GPU, twice the
# learning rate and half the iterations.
_base_ = "solov2-light_r50-vd-dcn_fpn_512-ms-3x_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="MobileNetV3",
        freeze_norm=True,
        init_cfg=dict(type="Pretrained", checkpoint="imagenet://MobileNetV3_large_x1_0_ssld_pretrained.pdparams"),
    ),
    neck=dict(in_channels=[72, 240, 672, 960]),
    grid=dict(scale_ranges=[(1, 56), (28, 112), (56, 224), (112, 448), (224, 896)]),
    head=dict(num_convs=2, dcn=None, dcn_convs=None),
)

multi_scale_resize = dict(
    _base_.multi_scale_resize,
    scales=[(768, 512), (768, 480), (768, 448), (768, 416), (768, 384), (768, 352)],
)
test_resize = dict(_base_.test_resize, scale=(768, 448))
train_pipeline = [
    _base_.load,
    _base_.load_instances,
    _base_.distort,
    _base_.overlap_crop,
    multi_scale_resize,
    _base_.flip,
    _base_.pack,
]
test_pipeline = [_base_.load, test_resize, _base_.pack]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_iters = 135_000
train_cfg = dict(max_iters=max_iters)
decay = dict(_base_.decay, end=max_iters, milestones=[90_000, 120_000])
param_scheduler = [_base_.warmup, decay]

slow, slower, slowest = (dict(lr_mult=rate) for rate in (0.75, 0.5, 0.25))
optim_wrapper = dict(
    optimizer=dict(lr=0.02),
    paramwise_cfg=dict(
        custom_keys=dict(
            _delete_=True,
            # Weight decay 1e-5; learning rates by stage.
            backbone=dict(decay_mult=0.1),
            **{"backbone.conv1.": slowest, "backbone.conv_last.": slow},
            **{f"backbone.blocks.{i}.": slowest if i < 6 else slower if i < 12 else slow for i in range(15)},
        )
    ),
)
auto_scale_lr = dict(base_batch_size=32)
