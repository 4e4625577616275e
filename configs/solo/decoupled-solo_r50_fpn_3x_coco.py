_base_ = "solo_r50_fpn_3x_coco.py"

model = dict(head=dict(type="DecoupledSOLOHead"))
