# The small SOLOv2 for nuclei, trained on 320-pixel crops of images at 512 pixels and evaluated by tiles of that size:
# for whole images at 320 pixels most nuclei are too small. docs/model_zoo.md has its AP.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/crops_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

import os

data_root = os.environ.get("DATA_ROOT") or "data/nuclei256/"
max_epochs = 24

# As in solov2-nano_nuclei.py; a tile holds fewer nuclei than an image.
model = dict(
    num_classes=1,
    tiles=_base_.tiles,
    grid=dict(
        num_grids=[40, 28, 16, 8],
        scale_ranges=[(1, 32), (20, 64), (48, 128), (96, 512)],
    ),
    mask_feature=dict(feat_channels=64, out_channels=64),
    criterion=dict(loss_cls=dict(loss_weight=1.0)),
    postprocess=dict(nms_pre=1000, max_per_img=400),
)

train_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(max_dets=400)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=6)
decay = dict(_base_.decay, end=max_epochs, T_max=max_epochs)
param_scheduler = [_base_.warmup, decay]
