# Learn eight real COCO photos by heart: train = val, objects of more than 32 pixels. A check of the whole way from
# photos to AP in some minutes on two cores, not a model to use. DATA_ROOT is a folder in COCO's layout; first:
#   python tools/subset_coco.py DATA_ROOT/annotations/instances_train2017.json work_dirs/overfit8.json \
#       --images 8 --min-side 32
_base_ = [
    "../_base_/models/solov2-nano.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/schedule_nano.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256]),
    grid=dict(num_grids=[32, 20, 12, 8], scale_ranges=[(1, 64), (48, 112), (88, 224), (176, 1024)]),
)

test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=(384, 384)), _base_.test_pipeline[2]]
train_pipeline = [*_base_.train_pipeline[:2], *test_pipeline[1:]]
photos = dict(
    data_root="",
    ann_file="work_dirs/overfit8.json",
    data_prefix=dict(img="{{$DATA_ROOT:data/coco/}}train2017/"),
)
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    # An epoch of 40 passes: eight photos alone are two steps.
    dataset=dict(type="RepeatDataset", times=40, dataset=dict(type="CocoInstances", **photos, pipeline=train_pipeline)),
)
val_dataloader = dict(num_workers=1, dataset=dict(**photos, pipeline=test_pipeline))
test_dataloader = val_dataloader
