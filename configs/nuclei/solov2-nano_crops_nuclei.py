# The small SOLOv2 for nuclei, trained on 320-pixel crops of images at 576 pixels and evaluated by tiles of that size:
# for whole images at 320 pixels most nuclei are too small. docs/model_zoo.md has its AP.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/crops_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

import os

data_root = os.environ.get("DATA_ROOT") or "data/nuclei256/"
max_epochs = 30

# As in solov2-nano_nuclei.py; a tile holds fewer nuclei than an image.
model = dict(
    num_classes=1,
    tiles=_base_.tiles,
    grid=dict(
        num_grids=[40, 28, 16, 8],
        scale_ranges=[(1, 32), (20, 64), (48, 128), (96, 512)],
    ),
    mask_feature=dict(feat_channels=64, out_channels=64),
    criterion=dict(
        # Scores learn how exact their masks are, and masks their boundaries.
        loss_cls=dict(_delete_=True, type="QualityFocalLoss"),
        loss_mask=dict(boundary_weight=1.0),
    ),
    # On the training images 0.6 is the best `mask_thr` of 0.5 to 0.65. Nuclei are of one piece.
    postprocess=dict(mask_thr=0.6, largest_component=True, nms_pre=1000, max_per_img=400),
)

cropped = [_base_.load, _base_.load_instances, _base_.random_resize, _base_.crop]
copy_paste = dict(type="CopyPaste", pipeline=cropped, max_num_pasted=60, bbox_occluded_thr=10, mask_occluded_thr=30)
train_pipeline = [*cropped, copy_paste, _base_.flip, _base_.pack]
train_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(max_dets=400)
test_evaluator = val_evaluator

# A step takes little more than half the time on CPUs that have bfloat16, for the same AP.
optim_wrapper = dict(type="BFloat16OptimWrapper", only_native=True)
custom_hooks = [*_base_.custom_hooks, dict(type="NetworkOptionsHook", channels_last=True)]
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
decay = dict(_base_.decay, end=max_epochs, T_max=max_epochs)
param_scheduler = [_base_.warmup, decay]
