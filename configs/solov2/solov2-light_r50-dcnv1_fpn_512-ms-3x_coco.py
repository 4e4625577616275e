# SOLOv2-light-512-DCN of the paper, ResNet-50, 3x: 36.4 mask AP in WXinlong/SOLO. Deformable convolutions without
# modulation (v1), short side 512, wider scale ranges.
_base_ = [
    "../_base_/models/solov2-light_r50_fpn.py",
    "../_base_/datasets/coco_instance_ms_512.py",
    "../_base_/schedules/schedule_3x.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(
        dcn=dict(type="solo.DCN", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    ),
    grid=dict(scale_ranges=[(1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)]),
    head=dict(num_convs=3, dcn=dict(type="DCN"), dcn_convs=(2,)),
)
