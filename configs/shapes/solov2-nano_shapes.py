# A small SOLOv2 on the generated shapes of `make demo`: four classes that differ in outline only. The images are
# generated on first use and are not resized. docs/model_zoo.md has its AP.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/custom_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

max_epochs = 11

# Masks learn their boundaries, and specks are dropped: docs/recipes.md.
model = dict(
    num_classes=4,
    criterion=dict(loss_mask=dict(boundary_weight=1.0)),
    postprocess=dict(largest_component=True),
)

data_root = "data/shapes"
flip = dict(_base_.flip, prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"])
train_pipeline = [_base_.load, _base_.load_instances, flip, _base_.pack]
test_pipeline = [_base_.load, _base_.pack]
shapes = dict(type="Shapes", data_root=data_root)
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(**shapes, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(**shapes, pipeline=test_pipeline))
test_dataloader = val_dataloader

# Faster on CPUs that have bfloat16.
optim_wrapper = dict(type="BFloat16OptimWrapper", only_native=True)
custom_hooks = [*_base_.custom_hooks, dict(type="NetworkOptionsHook", channels_last=True)]
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
decay = dict(_base_.decay, end=max_epochs, T_max=max_epochs)
param_scheduler = [_base_.warmup, decay]
