# The drawn data set of `make demo`: four classes told apart by their outline alone. Drawn on first use.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/custom_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

model = dict(num_classes=4)

data_root = "data/shapes"
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="mmdet.RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    _base_.train_pipeline[-1],
]
test_pipeline = [_base_.test_pipeline[0], _base_.test_pipeline[-1]]
shapes = dict(type="Shapes", data_root=data_root)
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(**shapes, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(**shapes, pipeline=test_pipeline))
test_dataloader = val_dataloader
