# Hooks, logging and environment shared by all configs.
default_scope = "solo"

default_hooks = dict(
    runtime_info=dict(type="DeferredRuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="coco/segm_mAP", rule="greater"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [
    dict(type="ClassNamesHook"),
    dict(type="DatasetEpochHook"),
    dict(type="UnreadableImagesHook"),
    dict(type="PeakMemoryHook"),
    dict(type="CurvesHook"),
    dict(type="StopSignalsHook"),
    dict(type="NonFiniteLossHook"),
]
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
visualizer = dict(
    type="Visualizer",
    vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
)
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
log_level = "INFO"
# A fixed seed makes runs reproducible, and a resumed run equal to an uninterrupted one; `--seed` changes it.
randomness = dict(seed=0)
load_from = None
resume = False
