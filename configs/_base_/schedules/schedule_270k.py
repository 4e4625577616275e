# AdelaiDet's 3x: 270,000 iterations with batches of 16, no weight decay on normalisation, no gradient clipping.
# Children use an InfiniteSampler and set `by_epoch=False` for checkpoints and the log.
max_iters = 270_000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

warmup = dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=1000)
decay = dict(type="MultiStepLR", by_epoch=False, begin=0, end=max_iters, milestones=[210_000, 250_000], gamma=0.1)
param_scheduler = [warmup, decay]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
