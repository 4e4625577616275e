# SOLOv2-light, ResNet-50, DCNv2, 3x, short side 448: mmdetection's recipe, which has no published AP. Deformable
# convolutions in C3 to C5 and in the last convolution of both towers. The paper's model has DCNv1 and larger images:
# solov2-light_r50-dcnv1_fpn_512-ms-3x_coco.py.
_base_ = "solov2-light_r50_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    ),
    head=dict(num_convs=3, dcn=dict(type="DCNv2"), dcn_convs=(2,)),
)
