# Decoupled SOLO light, ResNet-50, DCNv1, 3x, short side 512: WXinlong/SOLO's recipe, 35.0 mask AP there. Deformable
# convolutions in C3 to C5 and in the last convolution of both towers.
_base_ = "decoupled-solo-light_r50_fpn_3x_coco.py"

model = dict(
    backbone=dict(
        dcn=dict(type="solo.DCN", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    ),
    head=dict(dcn=dict(type="DCN"), dcn_convs=(3,)),
)
