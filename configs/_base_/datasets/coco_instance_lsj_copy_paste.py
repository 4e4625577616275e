# Large-scale jitter and copy-paste (arXiv 2012.07177): less than 100 objects of another image, jittered likewise.
_base_ = "coco_instance_lsj.py"

jitter = [*_base_.train_pipeline[:-1], dict(type="mmdet.Pad", size=_base_.size)]
train_pipeline = [*jitter, dict(type="CopyPaste", pipeline=jitter, max_num_pasted=100), _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
