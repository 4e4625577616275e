# COCO for light models: short sides of 352 to 512 pixels in training, 512 in tests.
_base_ = "coco_instance_ms.py"

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(_base_.train_pipeline[2], scales=[(852, 512), (852, 480), (852, 448), (852, 416), (852, 384), (852, 352)]),
    *_base_.train_pipeline[3:],
]
test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=(852, 512)), _base_.test_pipeline[2]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
