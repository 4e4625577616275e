# Your own data: copy this file, set the two lines below, train. The folder holds annotations/instances_{train,val}.json
# in COCO's format, train/ and val/; the classes are the names of its categories, in the order that labels shall have.
# A small model from scratch on images of up to 448 pixels, for any machine.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/custom_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

data_root = "data/my_data/"
classes = ("first class", "second class")

# Nothing below has to change.
model = dict(num_classes=len(classes))

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="RandomResize", scale=(448, 448), ratio_range=(0.7, 1.0), keep_ratio=True, resize_type="mmdet.Resize"),
    *_base_.train_pipeline[3:],
]
test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=(448, 448)), _base_.test_pipeline[2]]
data = dict(data_root=data_root, classes=classes)
train_dataloader = dict(batch_size=8, dataset=dict(**data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs),
]
