# A small SOLOv2 that overfits eight COCO photos (train = val, objects larger than 32 pixels). It checks the path from
# photos to AP in minutes on two cores. docs/model_zoo.md has its AP. DATA_ROOT is a folder in COCO's layout. First run
#   python tools/subset_coco.py DATA_ROOT/annotations/instances_train2017.json work_dirs/overfit8.json \
#       --images 8 --min-side 32
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

import os

model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256]),
    grid=dict(num_grids=[32, 20, 12, 8], scale_ranges=[(1, 64), (48, 112), (88, 224), (176, 1024)]),
)

test_resize = dict(_base_.test_resize, scale=(384, 384))
train_pipeline = [_base_.load, _base_.load_instances, test_resize, _base_.pack]
test_pipeline = [_base_.load, test_resize, _base_.pack]
photos = dict(
    data_root="",
    ann_file="work_dirs/overfit8.json",
    data_prefix=dict(img=os.path.join(os.environ.get("DATA_ROOT") or "data/coco/", "train2017/")),
)
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    # Eight photos are two steps: an epoch repeats them 40 times.
    dataset=dict(type="RepeatDataset", times=40, dataset=dict(type="CocoInstances", **photos, pipeline=train_pipeline)),
)
val_dataloader = dict(num_workers=1, dataset=dict(**photos, pipeline=test_pipeline))
test_dataloader = val_dataloader
