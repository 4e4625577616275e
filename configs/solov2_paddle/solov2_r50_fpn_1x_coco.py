# PaddleDetection 2's solov2_r50_fpn_1x_coco, 35.5 mask AP there: frozen normalisation, mask loss averaged over the
# objects that keep pixels at stride 4, batches not grouped by aspect ratio.
_base_ = [
    "../_base_/models/solov2_r50_fpn.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_paddle.py",
]

model = dict(
    backbone=dict(
        norm_cfg=dict(type="BN", requires_grad=False),
        init_cfg=dict(checkpoint="imagenet://ResNet50_cos_pretrained.pdparams"),
    ),
    criterion=dict(mask_loss_norm="nonempty"),
)
train_dataloader = dict(
    batch_sampler=None,
    drop_last=True,
    dataset=dict(filter_cfg=dict(min_size=0)),
)
