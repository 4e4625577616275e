auto_scale_lr = dict(base_batch_size=8, enable=False)
copy_paste = dict(
    bbox_occluded_thr=10,
    mask_occluded_thr=30,
    max_num_pasted=60,
    pipeline=[
        dict(type="LoadImage"),
        dict(type="LoadInstances"),
        dict(
            keep_ratio=True,
            ratio_range=(
                0.75,
                1.25,
            ),
            resize_type="mmdet.Resize",
            scale=(
                512,
                512,
            ),
            type="RandomResize",
        ),
        dict(
            allow_negative_crop=True,
            crop_size=(
                320,
                320,
            ),
            type="mmdet.RandomCrop",
        ),
    ],
    type="CopyPaste",
)
crop = dict(
    allow_negative_crop=True,
    crop_size=(
        320,
        320,
    ),
    type="mmdet.RandomCrop",
)
cropped = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(
        keep_ratio=True,
        ratio_range=(
            0.75,
            1.25,
        ),
        resize_type="mmdet.Resize",
        scale=(
            512,
            512,
        ),
        type="RandomResize",
    ),
    dict(
        allow_negative_crop=True,
        crop_size=(
            320,
            320,
        ),
        type="mmdet.RandomCrop",
    ),
]
custom_hooks = [
    dict(type="ClassNamesHook"),
    dict(type="DatasetEpochHook"),
    dict(type="UnreadableImagesHook"),
    dict(type="PeakMemoryHook"),
    dict(type="CurvesHook"),
    dict(type="StopSignalsHook"),
    dict(type="NonFiniteLossHook"),
]
data_root = "data/nuclei256/"
decay = dict(
    T_max=36, begin=0, by_epoch=True, convert_to_iter_based=True, end=36, eta_min=1e-05, type="CosineAnnealingLR"
)
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, rule="greater", save_best="coco/segm_mAP", type="CheckpointHook"),
    logger=dict(interval=50, type="LoggerHook"),
    param_scheduler=dict(type="ParamSchedulerHook"),
    runtime_info=dict(type="DeferredRuntimeInfoHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    timer=dict(type="IterTimerHook"),
)
default_scope = "solo"
env_cfg = dict(
    cudnn_benchmark=False, dist_cfg=dict(backend="nccl"), mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0)
)
flip = dict(
    direction=[
        "horizontal",
        "vertical",
        "diagonal",
    ],
    prob=[
        0.25,
        0.25,
        0.25,
    ],
    type="mmdet.RandomFlip",
)
load = dict(type="LoadImage")
load_instances = dict(type="LoadInstances")
log_level = "INFO"
log_processor = dict(by_epoch=True, type="LogProcessor", window_size=50)
max_epochs = 36
model = dict(
    assigner=dict(pos_scale=0.2, type="GridAssigner"),
    backbone=dict(
        base_channels=16,
        depth=18,
        frozen_stages=-1,
        init_cfg=None,
        norm_eval=False,
        num_stages=4,
        out_indices=(
            0,
            1,
            2,
            3,
        ),
        style="pytorch",
        type="mmdet.ResNet",
    ),
    criterion=dict(
        loss_cls=dict(type="QualityFocalLoss"),
        loss_mask=dict(boundary_weight=1.0, loss_weight=3.0, type="DiceLoss"),
        mask_loss_norm="targets",
        type="SOLOv2Criterion",
    ),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type="ImagePreprocessor",
    ),
    grid=dict(
        num_grids=[
            40,
            28,
            16,
            8,
        ],
        scale_ranges=[
            (
                1,
                32,
            ),
            (
                20,
                64,
            ),
            (
                48,
                128,
            ),
            (
                96,
                512,
            ),
        ],
        strides=[
            8,
            8,
            16,
            32,
        ],
    ),
    head=dict(
        feat_channels=64,
        feature_strides=(
            4,
            8,
            16,
            32,
        ),
        in_channels=64,
        num_convs=2,
        num_groups=8,
        type="SOLOv2Head",
    ),
    mask_feature=dict(
        feat_channels=64, in_channels=64, num_groups=8, num_levels=4, out_channels=64, type="MaskFeatureBranch"
    ),
    neck=dict(
        in_channels=[
            16,
            32,
            64,
            128,
        ],
        num_outs=4,
        out_channels=64,
        start_level=0,
        type="mmdet.FPN",
    ),
    num_classes=1,
    postprocess=dict(
        filter_thr=0.05,
        mask_thr=0.5,
        max_per_img=400,
        min_area_factor=0.25,
        nms=dict(kernel="gaussian", sigma=2.0, type="MatrixNMS"),
        nms_pre=1000,
        score_thr=0.1,
        type="SOLOv2PostProcessor",
    ),
    tiles=dict(
        batch_size=4,
        overlap=0.2,
        scale=(
            512,
            512,
        ),
        size=320,
    ),
    type="SOLOv2",
)
optim_wrapper = dict(
    clip_grad=dict(max_norm=10, norm_type=2),
    optimizer=dict(lr=0.002, type="AdamW", weight_decay=0.05),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
    type="OptimWrapper",
)
pack = dict(type="PackSample")
param_scheduler = [
    dict(begin=0, by_epoch=False, end=100, start_factor=0.01, type="LinearLR"),
    dict(T_max=36, begin=0, by_epoch=True, convert_to_iter_based=True, end=36, eta_min=1e-05, type="CosineAnnealingLR"),
]
random_resize = dict(
    keep_ratio=True,
    ratio_range=(
        0.75,
        1.25,
    ),
    resize_type="mmdet.Resize",
    scale=(
        512,
        512,
    ),
    type="RandomResize",
)
randomness = dict(seed=0)
resize = dict(
    keep_ratio=True,
    scale=(
        1333,
        800,
    ),
    type="mmdet.Resize",
)
scale = (
    512,
    512,
)
test_cfg = dict(type="TestLoop")
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="val/"),
        data_root="data/nuclei256/",
        pipeline=[
            dict(type="LoadImage"),
            dict(
                keep_ratio=True,
                scale=(
                    512,
                    512,
                ),
                type="mmdet.Resize",
            ),
            dict(type="PackSample"),
        ],
        test_mode=True,
        type="CocoInstances",
    ),
    drop_last=False,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(shuffle=False, type="DefaultSampler"),
)
test_evaluator = dict(max_dets=400, type="CocoMaskMetric")
test_pipeline = [
    dict(type="LoadImage"),
    dict(
        keep_ratio=True,
        scale=(
            512,
            512,
        ),
        type="mmdet.Resize",
    ),
    dict(type="PackSample"),
]
test_resize = dict(
    keep_ratio=True,
    scale=(
        512,
        512,
    ),
    type="mmdet.Resize",
)
tile = 320
tiles = dict(
    batch_size=4,
    overlap=0.2,
    scale=(
        512,
        512,
    ),
    size=320,
)
train_cfg = dict(max_epochs=36, type="EpochBasedTrainLoop", val_interval=6)
train_dataloader = dict(
    batch_sampler=dict(type="mmdet.AspectRatioBatchSampler"),
    batch_size=4,
    dataset=dict(
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"),
        data_root="data/nuclei256/",
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[
            dict(type="LoadImage"),
            dict(type="LoadInstances"),
            dict(
                keep_ratio=True,
                ratio_range=(
                    0.75,
                    1.25,
                ),
                resize_type="mmdet.Resize",
                scale=(
                    512,
                    512,
                ),
                type="RandomResize",
            ),
            dict(
                allow_negative_crop=True,
                crop_size=(
                    320,
                    320,
                ),
                type="mmdet.RandomCrop",
            ),
            dict(
                bbox_occluded_thr=10,
                mask_occluded_thr=30,
                max_num_pasted=60,
                pipeline=[
                    dict(type="LoadImage"),
                    dict(type="LoadInstances"),
                    dict(
                        keep_ratio=True,
                        ratio_range=(
                            0.75,
                            1.25,
                        ),
                        resize_type="mmdet.Resize",
                        scale=(
                            512,
                            512,
                        ),
                        type="RandomResize",
                    ),
                    dict(
                        allow_negative_crop=True,
                        crop_size=(
                            320,
                            320,
                        ),
                        type="mmdet.RandomCrop",
                    ),
                ],
                type="CopyPaste",
            ),
            dict(
                direction=[
                    "horizontal",
                    "vertical",
                    "diagonal",
                ],
                prob=[
                    0.25,
                    0.25,
                    0.25,
                ],
                type="mmdet.RandomFlip",
            ),
            dict(type="PackSample"),
        ],
        type="CocoInstances",
    ),
    num_workers=1,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(shuffle=True, type="DefaultSampler"),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(
        keep_ratio=True,
        ratio_range=(
            0.75,
            1.25,
        ),
        resize_type="mmdet.Resize",
        scale=(
            512,
            512,
        ),
        type="RandomResize",
    ),
    dict(
        allow_negative_crop=True,
        crop_size=(
            320,
            320,
        ),
        type="mmdet.RandomCrop",
    ),
    dict(
        bbox_occluded_thr=10,
        mask_occluded_thr=30,
        max_num_pasted=60,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="LoadInstances"),
            dict(
                keep_ratio=True,
                ratio_range=(
                    0.75,
                    1.25,
                ),
                resize_type="mmdet.Resize",
                scale=(
                    512,
                    512,
                ),
                type="RandomResize",
            ),
            dict(
                allow_negative_crop=True,
                crop_size=(
                    320,
                    320,
                ),
                type="mmdet.RandomCrop",
            ),
        ],
        type="CopyPaste",
    ),
    dict(
        direction=[
            "horizontal",
            "vertical",
            "diagonal",
        ],
        prob=[
            0.25,
            0.25,
            0.25,
        ],
        type="mmdet.RandomFlip",
    ),
    dict(type="PackSample"),
]
val_cfg = dict(type="ValLoop")
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="val/"),
        data_root="data/nuclei256/",
        pipeline=[
            dict(type="LoadImage"),
            dict(
                keep_ratio=True,
                scale=(
                    512,
                    512,
                ),
                type="mmdet.Resize",
            ),
            dict(type="PackSample"),
        ],
        test_mode=True,
        type="CocoInstances",
    ),
    drop_last=False,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(shuffle=False, type="DefaultSampler"),
)
val_evaluator = dict(max_dets=400, type="CocoMaskMetric")
visualizer = dict(
    type="Visualizer",
    vis_backends=[
        dict(type="LocalVisBackend"),
        dict(type="TensorboardVisBackend"),
    ],
)
warmup = dict(begin=0, by_epoch=False, end=100, start_factor=0.01, type="LinearLR")
