# PaddleDetection 0.5's solov2_r50_fpn_3x: a short side between 640 and 800 pixels.
_base_ = "solov2_r50_fpn_90k_coco.py"

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(
        type="RandomChoiceResize",
        scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)],
        keep_ratio=True,
        resize_type="mmdet.Resize",
    ),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_iters = 270_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters, milestones=[180_000, 240_000]),
]
