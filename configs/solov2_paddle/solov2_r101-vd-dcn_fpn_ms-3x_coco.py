# PaddleDetection 2's solov2_r101_vd_fpn_3x_coco, 42.7 mask AP there: ResNet-vd, DCNv2 in C3 to C5, in the towers and in
# the mask feature branch, EMA of the weights, 2000 iterations of warm-up. Deformable convolutions outside the backbone
# have biases; these and the biases of their offsets train at twice the rate without weight decay.
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
custom_hooks = [*_base_.custom_hooks, dict(type="BiasCorrectedEMAHook", decay=0.9998)]

warmup_iters = 2000
warmup = dict(_base_.warmup, start_factor=1 / warmup_iters, end=warmup_iters)
param_scheduler = [warmup, _base_.decay]

free_bias = dict(lr_mult=2.0, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "conv.bias": free_bias,
            "conv.conv_offset.bias": free_bias,
            # Biases of the FPN have the ordinary rate and decay.
            "neck.lateral_convs": dict(lr_mult=1.0, decay_mult=1.0),
            "neck.fpn_convs": dict(lr_mult=1.0, decay_mult=1.0),
        }
    )
)
