_base_ = "solov2_r50_fpn_1x_coco.py"

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(
        type="RandomChoiceResize",
        scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)],
        keep_ratio=True,
        resize_type="mmdet.Resize",
    ),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackSample"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 1000, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=max_epochs, milestones=[24, 33], gamma=0.1),
]
