# Decoupled SOLO, ResNet-50, 3x, multi-scale: mmdetection's recipe, 36.7 mask AP there.
_base_ = "solo_r50_fpn_3x_coco.py"

model = dict(head=dict(type="DecoupledSOLOHead"))
