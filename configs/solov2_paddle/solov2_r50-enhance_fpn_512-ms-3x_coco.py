# PaddleDetection 2's solov2_r50_enhance_coco ("Light-R50-VD-DCN-FPN"), 39.0 mask AP there: scale ranges of the full
# model, DCNv2 in the mask feature branch too, stem and first stage trained with rate 0. PaddleDetection 0.5's model
# of nearly the same name differs: solov2-light_r50-vd-dcn_fpn_512-ms-3x_coco.py.
_base_ = "solov2_r50_fpn_ms-3x_coco.py"

dcn = dict(type="DCNv2", bias=True)
model = dict(
    backbone=dict(
        type="mmdet.ResNetV1d",
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
        init_cfg=dict(checkpoint="imagenet://ResNet50_vd_ssld_v2_pretrained.pdparams"),
    ),
    mask_feature=dict(out_channels=128, dcn=dcn),
    head=dict(
        feat_channels=256,
        num_convs=3,
        dcn=dcn,
        dcn_convs=(2,),
        drop_block=dict(block_size=3, keep_prob=0.9),
    ),
)
custom_hooks = [*_base_.custom_hooks, dict(type="BiasCorrectedEMAHook", decay=0.9998)]

distort = dict(type="RandomDistort")
overlap_crop = dict(type="RandomOverlapCrop")
multi_scale_resize = dict(
    _base_.multi_scale_resize,
    scales=[(852, 352), (852, 384), (852, 416), (852, 448), (852, 480), (852, 512)],
)
test_resize = dict(_base_.test_resize, scale=(852, 512))
train_pipeline = [
    _base_.load,
    _base_.load_instances,
    distort,
    overlap_crop,
    multi_scale_resize,
    _base_.flip,
    _base_.pack,
]
test_pipeline = [_base_.load, test_resize, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

fixed = dict(lr_mult=0.0, decay_mult=0.0)
free_bias = dict(lr_mult=2.0, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "backbone.stem": fixed,
            "backbone.layer1": fixed,
            "backbone.layer2": dict(lr_mult=0.05),
            "backbone.layer3": dict(lr_mult=0.1),
            "backbone.layer4": dict(lr_mult=0.15),
            # Offsets in the backbone train at the full rate.
            "conv2.conv_offset": dict(lr_mult=1.0),
            # Biases of deformable convolutions outside the backbone, and of their offsets.
            "conv.bias": free_bias,
            "conv.conv_offset.bias": free_bias,
            # Biases of the FPN have the ordinary rate and decay.
            "neck.lateral_convs": dict(lr_mult=1.0, decay_mult=1.0),
            "neck.fpn_convs": dict(lr_mult=1.0, decay_mult=1.0),
        }
    )
)
