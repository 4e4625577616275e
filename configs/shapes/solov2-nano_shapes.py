# The drawn data set of `make demo`: four classes told apart by their outline alone. Drawn on first use.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

model = dict(num_classes=4)

data_root = "data/shapes"
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(type="mmdet.RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackSample"),
]
test_pipeline = [dict(type="LoadImage"), dict(type="PackSample")]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        type="Shapes",
        data_root=data_root,
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type="Shapes",
        data_root=data_root,
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="val/"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
