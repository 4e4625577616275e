# AdamW with cosine decay, for small models trained from scratch. A child that changes max_epochs sets `end` and `T_max`
# of the decay too.
max_epochs = 9
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=3)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

warmup = dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100)
decay = dict(
    type="CosineAnnealingLR",
    by_epoch=True,
    begin=0,
    end=max_epochs,
    T_max=max_epochs,
    eta_min=1e-5,
    convert_to_iter_based=True,
)
param_scheduler = [warmup, decay]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.002, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=8)
