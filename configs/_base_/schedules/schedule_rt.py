# AdamW with cosine decay for 72 epochs (6x) with batches of 32 (4 GPUs x 8 images), smaller steps for the pretrained
# backbone.
_base_ = "schedule_nano.py"

max_epochs = 72
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
warmup = dict(_base_.warmup, end=1000)
decay = dict(_base_.decay, end=max_epochs, T_max=max_epochs)
param_scheduler = [warmup, decay]
optim_wrapper = dict(
    optimizer=dict(lr=0.0005),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
)
auto_scale_lr = dict(base_batch_size=32)
