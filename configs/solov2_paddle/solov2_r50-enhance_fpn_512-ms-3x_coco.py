# PaddleDetection 2's solov2_r50_enhance_coco ("Light-R50-VD-DCN-FPN"): the scale ranges of the full model, deformable
# convolutions in the mask feature branch too, stem and first stage fixed but for their statistics. Its namesake of
# release 0.5 is another model: solov2-light_r50-vd-dcn_fpn_512-ms-3x_coco.py.
_base_ = "solov2_r101-vd-dcn_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(
        depth=50,
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        init_cfg=dict(checkpoint="imagenet://ResNet50_vd_ssld_v2_pretrained.pdparams"),
    ),
    mask_feature=dict(out_channels=128),
    head=dict(
        feat_channels=256,
        num_convs=3,
        dcn_convs=(2,),
        drop_block=dict(block_size=3, keep_prob=0.9),
    ),
)

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="RandomDistort"),
    dict(type="RandomOverlapCrop"),
    dict(
        _base_.train_pipeline[2],
        scales=[(852, 352), (852, 384), (852, 416), (852, 448), (852, 480), (852, 512)],
    ),
    *_base_.train_pipeline[3:],
]
test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=(852, 512)), _base_.test_pipeline[2]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

warm_up = 1000
param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=1 / warm_up, end=warm_up),
    _base_.param_scheduler[1],
]
fixed = dict(lr_mult=0.0, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "backbone.stem": fixed,
            "backbone.layer1": fixed,
            "backbone.layer2": dict(lr_mult=0.05),
            "backbone.layer3": dict(lr_mult=0.1),
            "backbone.layer4": dict(lr_mult=0.15),
            # Offsets in the backbone learn at the full rate.
            "conv2.conv_offset": dict(lr_mult=1.0),
        }
    )
)
