# PaddleDetection 0.5's solov2_mobilenetv3_fpn_448_3x: four images a GPU, twice the rate and half the iterations.
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

train_pipeline = [
    *_base_.train_pipeline[:4],
    dict(_base_.train_pipeline[4], scales=[(768, 512), (768, 480), (768, 448), (768, 416), (768, 384), (768, 352)]),
    *_base_.train_pipeline[5:],
]
test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=(768, 448)), _base_.test_pipeline[2]]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_iters = 135_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters, milestones=[90_000, 120_000]),
]
slow, slower, slowest = (dict(lr_mult=rate) for rate in (0.75, 0.5, 0.25))
optim_wrapper = dict(
    optimizer=dict(lr=0.02),
    paramwise_cfg=dict(
        custom_keys=dict(
            _delete_=True,
            # A decay of 1e-5, and rates in steps of three blocks.
            backbone=dict(decay_mult=0.1),
            **{"backbone.conv1.": slowest, "backbone.conv_last.": slow},
            **{f"backbone.blocks.{i}.": slowest if i < 6 else slower if i < 12 else slow for i in range(15)},
        )
    ),
)
auto_scale_lr = dict(base_batch_size=32)
