# COCO 2017 in its own layout: annotations/instances_{train,val}2017.json, train2017/, val2017/. The environment
# variable DATA_ROOT moves all splits at once. Images are resized to at most 1333 x 800, as in mmdetection.
_base_ = []  # mmengine takes a file that imports modules and has no bases for one of its lazy configs

import os

data_root = os.environ.get("DATA_ROOT") or "data/coco/"

# Children combine these steps into pipelines of their own: [_base_.load, dict(_base_.resize, scale=(448, 448)), ...].
load = dict(type="LoadImage")
load_instances = dict(type="LoadInstances")
resize = dict(type="mmdet.Resize", scale=(1333, 800), keep_ratio=True)
flip = dict(type="mmdet.RandomFlip", prob=0.5)
pack = dict(type="PackSample")
test_resize = dict(type="mmdet.Resize", scale=(1333, 800), keep_ratio=True)

train_pipeline = [load, load_instances, resize, flip, pack]
test_pipeline = [load, test_resize, pack]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="mmdet.AspectRatioBatchSampler"),
    dataset=dict(
        type="CocoInstances",
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoInstances",
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="CocoMaskMetric")
test_evaluator = val_evaluator
