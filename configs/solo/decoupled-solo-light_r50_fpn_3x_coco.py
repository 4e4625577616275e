# The light model: one mask tower for columns and rows, 4 x 256, short side 512.
_base_ = "decoupled-solo_r50_fpn_3x_coco.py"

model = dict(
    grid=dict(scale_ranges=[(1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)]),
    head=dict(num_convs=4, shared_mask_tower=True),
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
    dict(type="PackSample", coarse_strides=(8, 16)),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="mmdet.Resize", scale=(852, 512), keep_ratio=True),
    dict(type="PackSample"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
