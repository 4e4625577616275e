# A small SOLOv2 on nuclei in fluorescence microscopy (Data Science Bowl 2018, 256-pixel images in COCO's format),
# trained from scratch. docs/model_zoo.md has its AP. `data_root`, or the environment variable DATA_ROOT, is the folder
# with train/, val/ and annotations/instances_{train,val}.json.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/custom_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

import os

data_root = os.environ.get("DATA_ROOT") or "data/nuclei256/"
max_epochs = 24

# Many small objects of one class: finer grids, more mask features to separate neighbours, larger images.
model = dict(
    num_classes=1,
    grid=dict(
        num_grids=[40, 28, 16, 8],
        scale_ranges=[(1, 32), (20, 64), (48, 128), (96, 512)],
    ),
    mask_feature=dict(feat_channels=64, out_channels=64),
    criterion=dict(loss_cls=dict(loss_weight=1.0)),
    postprocess=dict(nms_pre=1000, max_per_img=400),
)

random_resize = dict(
    type="RandomResize", scale=(320, 320), ratio_range=(0.9, 1.2), keep_ratio=True, resize_type="mmdet.Resize"
)
flip = dict(_base_.flip, prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"])
test_resize = dict(_base_.test_resize, scale=(320, 320))
train_pipeline = [_base_.load, _base_.load_instances, random_resize, flip, _base_.pack]
test_pipeline = [_base_.load, test_resize, _base_.pack]
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(max_dets=400)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=6)
decay = dict(_base_.decay, end=max_epochs, T_max=max_epochs)
param_scheduler = [_base_.warmup, decay]
