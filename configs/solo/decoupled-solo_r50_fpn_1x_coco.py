# Decoupled SOLO, ResNet-50, 1x (arXiv 1912.04488, section 3.4): 33.9 mask AP in mmdetection. A mask is the product of a
# channel of its column and a channel of its row; columns and rows have a tower each.
_base_ = "solo_r50_fpn_1x_coco.py"

model = dict(head=dict(type="DecoupledSOLOHead"))
