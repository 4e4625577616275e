# 1x: 12 epochs with batches of 16 (8 GPUs x 2 images). Milestones and warm-up are those of WXinlong/SOLO's SOLOv2.
max_epochs = 12
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

warmup = dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500)
decay = dict(type="MultiStepLR", by_epoch=True, begin=0, end=max_epochs, milestones=[9, 11], gamma=0.1)
param_scheduler = [warmup, decay]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
