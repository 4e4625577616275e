# The light model: one mask tower for columns and rows, 4 x 256, short side 512.
_base_ = "decoupled-solo_r50_fpn_3x_coco.py"

model = dict(
    grid=dict(scale_ranges=[(1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)]),
    head=dict(num_convs=4, shared_mask_tower=True),
)

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(_base_.train_pipeline[2], scales=[(852, 512), (852, 480), (852, 448), (852, 416), (852, 384), (852, 352)]),
    *_base_.train_pipeline[3:],
]
test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=(852, 512)), _base_.test_pipeline[2]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
