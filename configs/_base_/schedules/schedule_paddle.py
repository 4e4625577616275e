# PaddleDetection's: normalisation does not decay, gradients are not clipped, and the rate climbs by base / 1000 an
# iteration (theirs starts with an iteration at rate 0, ours with their second).
max_epochs = 12
warm_up = 1000
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    dict(type="LinearLR", start_factor=1 / warm_up, by_epoch=False, begin=0, end=warm_up),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=max_epochs, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="LayerwiseOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
