# Nuclei in fluorescence microscopy (Data Science Bowl 2018, 256-pixel images in COCO's format), from scratch.
# DATA_ROOT or data_root names the folder: train/, val/, annotations/instances_{train,val}.json.
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/custom_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

data_root = "{{$DATA_ROOT:data/nuclei256/}}"
max_epochs = 24

# Many small objects of one class: finer grids, more mask features to tell neighbours apart, images enlarged.
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

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="RandomResize", scale=(320, 320), ratio_range=(0.9, 1.2), keep_ratio=True, resize_type="mmdet.Resize"),
    dict(type="mmdet.RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    _base_.train_pipeline[-1],
]
test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=(320, 320)), _base_.test_pipeline[2]]
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(max_dets=400)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=6)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs),
]
