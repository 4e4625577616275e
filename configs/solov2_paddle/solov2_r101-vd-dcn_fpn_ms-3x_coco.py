# PaddleDetection 2's solov2_r101_vd_fpn_3x_coco: ResNet-vd, deformable convolutions (v2) in C3 to C5, in the towers and
# in the mask feature branch, a moving average of the weights, a warm-up twice as long. Deformable convolutions outside
# the backbone have a bias, which learns at twice the rate as that of their offsets does, and does not decay.
_base_ = "solov2_r50_fpn_ms-3x_coco.py"

dcn = dict(type="DCNv2", bias=True)
model = dict(
    backbone=dict(
        type="mmdet.ResNetV1d",
        depth=101,
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
        init_cfg=dict(checkpoint="imagenet://ResNet101_vd_pretrained.pdparams"),
    ),
    mask_feature=dict(dcn=dcn),
    head=dict(dcn=dcn),
)
custom_hooks = [*_base_.custom_hooks, dict(type="RampedEMAHook", decay=0.9998)]

warm_up = 2000
param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=1 / warm_up, end=warm_up),
    _base_.param_scheduler[1],
]
free_bias = dict(lr_mult=2.0, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "conv.bias": free_bias,
            "conv.conv_offset.bias": free_bias,
            # The biases of the pyramid are ordinary ones.
            "neck.lateral_convs": dict(lr_mult=1.0, decay_mult=1.0),
            "neck.fpn_convs": dict(lr_mult=1.0, decay_mult=1.0),
        }
    )
)
