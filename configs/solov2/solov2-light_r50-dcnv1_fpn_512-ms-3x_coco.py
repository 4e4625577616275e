# The paper's SOLOv2-light-512-DCN: deformable convolutions without modulation (v1), short side 512, wider scale ranges.
_base_ = "solov2-light_r50-dcn_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(dcn=dict(type="solo.DCN")),
    grid=dict(scale_ranges=[(1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)]),
    head=dict(dcn=dict(type="DCN")),
)

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(
        type="RandomChoiceResize",
        scales=[(852, 512), (852, 480), (852, 448), (852, 416), (852, 384), (852, 352)],
        keep_ratio=True,
        resize_type="mmdet.Resize",
    ),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackSample"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="mmdet.Resize", scale=(852, 512), keep_ratio=True),
    dict(type="PackSample"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
