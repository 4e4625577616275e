# SOLO with ResNet-50 and FPN (arXiv 1912.04488, section 3.2): head of 7 x 256 channels with one mask channel a cell, at
# twice the resolution of its level. Pipelines end with PackSample(coarse_strides=(8, 16)) to train its coarser levels.
_base_ = "solov2_r50_fpn.py"

model = dict(
    type="SOLO",
    mask_feature=None,
    head=dict(type="SOLOHead", feat_channels=256, num_convs=7),
    assigner=dict(shared_cell_masks="owner"),
)
