# PaddleDetection's 1x: no weight decay on normalisation, no gradient clipping. The learning rate rises by a
# thousandth of its value an iteration (PaddleDetection's first iteration has rate 0; this schedule starts with its
# second).
max_epochs = 12
warmup_iters = 1000
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

warmup = dict(type="LinearLR", start_factor=1 / warmup_iters, by_epoch=False, begin=0, end=warmup_iters)
decay = dict(type="MultiStepLR", by_epoch=True, begin=0, end=max_epochs, milestones=[8, 11], gamma=0.1)
param_scheduler = [warmup, decay]
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="LayerwiseOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
