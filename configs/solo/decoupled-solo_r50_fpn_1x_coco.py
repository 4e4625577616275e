# Decoupled SOLO: masks are products of a channel of their column and one of their row, each from a tower of its own.
_base_ = "solo_r50_fpn_1x_coco.py"

model = dict(head=dict(type="DecoupledSOLOHead"))
