# Your own data: copy this file, set `data_root` and `classes`, train. The folder holds train/, val/ and
# annotations/instances_{train,val}.json in COCO's format; `classes` are names of its categories, in the order of
# labels. A small SOLOv2 trained from scratch on images of up to 448 pixels, for any machine.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/custom_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

data_root = "data/my_data/"
classes = ("first class", "second class")

# Nothing below needs to change. Masks learn their boundaries: docs/recipes.md.
model = dict(num_classes=len(classes), criterion=dict(loss_mask=dict(boundary_weight=1.0)))

random_resize = dict(
    type="RandomResize", scale=(448, 448), ratio_range=(0.7, 1.0), keep_ratio=True, resize_type="mmdet.Resize"
)
test_resize = dict(_base_.test_resize, scale=(448, 448))
train_pipeline = [_base_.load, _base_.load_instances, random_resize, _base_.flip, _base_.pack]
test_pipeline = [_base_.load, test_resize, _base_.pack]
data = dict(data_root=data_root, classes=classes)
train_dataloader = dict(batch_size=8, dataset=dict(**data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
decay = dict(_base_.decay, end=max_epochs, T_max=max_epochs)
param_scheduler = [_base_.warmup, decay]

# Twice as fast on CPUs that have bfloat16.
optim_wrapper = dict(type="BFloat16OptimWrapper", only_native=True)
network_options = dict(type="NetworkOptionsHook", channels_last=True)
# The training stops when mask AP has not risen by 0.001 for 5 validations, 15 epochs.
early_stop = dict(type="EarlyStoppingHook", monitor="coco/segm_mAP", rule="greater", min_delta=0.001, patience=5)
custom_hooks = [*_base_.custom_hooks, network_options, early_stop]
