# SOLOv2-light: 2 x 256 head, 128 mask features, short side 448.
_base_ = "solov2_r50_fpn_ms-3x_coco.py"

model = dict(
    grid=dict(scale_ranges=[(1, 56), (28, 112), (56, 224), (112, 448), (224, 896)]),
    mask_feature=dict(out_channels=128),
    head=dict(feat_channels=256, num_convs=2),
)

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(
        type="RandomChoiceResize",
        scales=[(768, 512), (768, 480), (768, 448), (768, 416), (768, 384), (768, 352)],
        keep_ratio=True,
        resize_type="mmdet.Resize",
    ),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackSample"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="mmdet.Resize", scale=(768, 448), keep_ratio=True),
    dict(type="PackSample"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
