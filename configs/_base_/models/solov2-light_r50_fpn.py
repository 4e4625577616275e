# SOLOv2-light: head of 2 x 256 channels, 128 mask feature channels, scale ranges for a short side of 448.
_base_ = "solov2_r50_fpn.py"

model = dict(
    grid=dict(scale_ranges=[(1, 56), (28, 112), (56, 224), (112, 448), (224, 896)]),
    mask_feature=dict(out_channels=128),
    head=dict(feat_channels=256, num_convs=2),
)
