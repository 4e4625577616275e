# SOLO with ResNet-50 and FPN: 7 x 256 head, a mask channel for each cell, at twice the resolution that its level reads.
# Its masks are trained at that resolution: a pipeline on it ends with PackSample(coarse_strides=(8, 16)).
_base_ = "solov2_r50_fpn.py"

model = dict(
    type="SOLO",
    mask_feature=None,
    head=dict(type="SOLOHead", feat_channels=256, num_convs=7),
    assigner=dict(shared_cell_masks="owner"),
)
