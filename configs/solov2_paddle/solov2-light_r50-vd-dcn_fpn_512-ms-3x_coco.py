# PaddleDetection 0.5's solov2_light_r50_vd_fpn_dcn_512_3x, 38.8 mask AP there: the paper's scale ranges, plain
# convolutions in the mask feature branch, no bias in deformable convolutions, all stages trained. PaddleDetection 2's
# model of nearly the same name differs: solov2_r50-enhance_fpn_512-ms-3x_coco.py.
_base_ = [
    "../_base_/models/solov2-light_r50_fpn.py",
    "../_base_/datasets/coco_instance_ms_512.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_paddle_270k.py",
]

model = dict(
    backbone=dict(
        type="mmdet.ResNetV1d",
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
        init_cfg=dict(checkpoint="imagenet://ResNet50_vd_ssld_pretrained.pdparams"),
    ),
    grid=dict(scale_ranges=[(1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)]),
    head=dict(
        num_convs=3,
        dcn=dict(type="DCNv2"),
        dcn_convs=(2,),
        drop_block=dict(block_size=3, keep_prob=0.9),
    ),
    criterion=dict(mask_loss_norm="nonempty"),
)
custom_hooks = [*_base_.custom_hooks, dict(type="BiasCorrectedEMAHook", decay=0.9998)]

distort = dict(type="RandomDistort")
overlap_crop = dict(type="RandomOverlapCrop")
train_pipeline = [
    _base_.load,
    _base_.load_instances,
    distort,
    overlap_crop,
    _base_.multi_scale_resize,
    _base_.flip,
    _base_.pack,
]
train_dataloader = dict(
    batch_sampler=None,
    sampler=dict(type="InfiniteSampler"),
    dataset=dict(filter_cfg=dict(min_size=0), pipeline=train_pipeline),
)

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "backbone.stem": dict(lr_mult=0.05),
            "backbone.layer1": dict(lr_mult=0.05),
            "backbone.layer2": dict(lr_mult=0.05),
            "backbone.layer3": dict(lr_mult=0.1),
            "backbone.layer4": dict(lr_mult=0.15),
            # Offsets in the backbone train at the full rate.
            "conv2.conv_offset": dict(lr_mult=1.0),
        }
    )
)

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
log_processor = dict(by_epoch=False)
