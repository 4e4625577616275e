# Training on crops and prediction by tiles, for many small objects: a data set as custom_instance.py has it. Images are
# resized so that objects have the scale the network needs, trained on crops of one tile, and validated, tested and
# predicted by tiles. Children set `data_root` and `model = dict(tiles=_base_.tiles)`; those with other numbers
# `random_resize`, `crop`, `tiles` and the pipelines too.
_base_ = "custom_instance.py"

tile = 320  # side of crops and tiles, pixels
# What images are fitted into before they are cropped or cut; a number is a factor. Two tiles that overlap by a fifth
# make 576 pixels.
scale = (576, 576)

random_resize = dict(
    type="RandomResize", scale=scale, ratio_range=(0.75, 1.25), keep_ratio=True, resize_type="mmdet.Resize"
)
crop = dict(type="mmdet.RandomCrop", crop_size=(tile, tile), allow_negative_crop=True)
flip = dict(type="mmdet.RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"])
test_resize = dict(type="mmdet.Resize", scale=scale, keep_ratio=True)  # of whole images, with --tile 0

train_pipeline = [_base_.load, _base_.load_instances, random_resize, crop, flip, _base_.pack]
test_pipeline = [_base_.load, test_resize, _base_.pack]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

tiles = dict(size=tile, overlap=0.2, scale=scale, batch_size=4)
