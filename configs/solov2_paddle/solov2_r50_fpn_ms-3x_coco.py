# PaddleDetection 2's solov2_r50_fpn_3x_coco, 38.0 mask AP there: 36 epochs, short side between 640 and 800 pixels.
_base_ = "solov2_r50_fpn_1x_coco.py"

multi_scale_resize = dict(
    type="RandomChoiceResize",
    scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)],
    keep_ratio=True,
    resize_type="mmdet.Resize",
)
train_pipeline = [_base_.load, _base_.load_instances, multi_scale_resize, _base_.flip, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
decay = dict(_base_.decay, end=max_epochs, milestones=[24, 33])
param_scheduler = [_base_.warmup, decay]
