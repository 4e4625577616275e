# mmdetection's light model with deformable convolutions (v2): in C3 to C5 and in the last convolution of both towers.
# The paper's has v1 and larger images: solov2-light_r50-dcnv1_fpn_512-ms-3x_coco.py.
_base_ = "solov2-light_r50_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    ),
    head=dict(num_convs=3, dcn=dict(type="DCNv2"), dcn_convs=(2,)),
)
