# A data set in COCO's format: annotations/instances_{train,val}.json, train/, val/. Children set `data_root`.
_base_ = "coco_instance.py"

train_dataloader = dict(
    dataset=dict(ann_file="annotations/instances_train.json", data_prefix=dict(img="train/")),
)
val_dataloader = dict(
    dataset=dict(ann_file="annotations/instances_val.json", data_prefix=dict(img="val/")),
)
test_dataloader = val_dataloader
