# A model small enough to be measured in a test, which mmdet can build and train too.
_base_ = ["../../configs/shapes/solov2-nano_shapes.py"]

model = dict(
    # mmdet's head doubles the last map. Few channels keep the measurement short.
    grid=dict(strides=[8, 8, 16, 16]),
    backbone=dict(base_channels=4),
    neck=dict(in_channels=[4, 8, 16, 32]),
    head=dict(feat_channels=8),
    criterion=dict(loss_mask=dict(boundary_weight=0.0)),
    postprocess=dict(largest_component=False),
)
# Losses and gradients are compared in float32, and the channels are too few for the channels-last layout.
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.002, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10, norm_type=2),
)
custom_hooks = []
