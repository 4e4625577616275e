# Deformable convolutions (v2) in C3 to C5, in all of the towers and in all of the mask feature branch.
_base_ = "solov2_r101_fpn_ms-3x_coco.py"

dcn = dict(type="DCNv2")
model = dict(
    backbone=dict(
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    ),
    mask_feature=dict(dcn=dcn),
    head=dict(dcn=dcn),
)
