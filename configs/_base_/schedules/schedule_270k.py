# AdelaiDet's 3x: 270,000 iterations of 16 images; normalisation does not decay, gradients are not clipped. A config on
# it takes an InfiniteSampler and tells the checkpoints and the log to count iterations.
max_iters = 270_000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", by_epoch=False, begin=0, end=max_iters, milestones=[210_000, 250_000], gamma=0.1),
]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
