# COCO with large-scale jitter and copy-paste (arXiv 2012.07177): fewer than 100 objects are pasted from another image
# that is jittered in the same way.
_base_ = "coco_instance_lsj.py"

pad = dict(type="mmdet.Pad", size=_base_.size)
jitter = [
    _base_.load,
    _base_.load_instances,
    _base_.random_resize,
    _base_.crop,
    _base_.filter_tiny,
    _base_.flip,
    pad,
]
copy_paste = dict(type="CopyPaste", pipeline=jitter, max_num_pasted=100)
train_pipeline = [*jitter, copy_paste, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
