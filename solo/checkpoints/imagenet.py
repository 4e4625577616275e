"""ImageNet weights of backbones, by file name in torch's hub cache; nothing is downloaded.

Configs write `init_cfg=dict(type="Pretrained", checkpoint="imagenet://resnet50-0676ba61.pth")`. A bare name is looked
up in torch's hub cache (below `TORCH_HOME`); a name with a folder is a path. The names in Paddle's `.pdparams` are
converted, and timm's for the stem of a ResNet-D.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from torch import Tensor

from solo.checkpoints.dialects.paddle import PADDLE, PADDLE_STATIC
from solo.checkpoints.source import read_source
from solo.errors import CheckpointError, suggestion

SCHEME = "imagenet://"
TORCH_FILES = "https://download.pytorch.org/models/"
OPENMMLAB_FILES = "https://download.openmmlab.com/pretrain/third_party/"
TIMM_FILES = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
PADDLE_FILES = "https://paddledet.bj.bcebos.com/models/pretrained/"
KNOWN_FILES = {
    "resnet18-f37072fd.pth": TORCH_FILES,
    "resnet34-b627a593.pth": TORCH_FILES,
    "resnet50-0676ba61.pth": TORCH_FILES,
    "resnet101-63fe2227.pth": TORCH_FILES,
    # ResNet-vd, which timm calls ResNet-D.
    "resnet18d_ra2-48a79e06.pth": TIMM_FILES,
    "resnet34d_ra2-f8dcfcaf.pth": TIMM_FILES,
    # Caffe style, for BGR images without division.
    "resnet50_msra-5891d200.pth": OPENMMLAB_FILES,
    "resnet101_msra-6cc46731.pth": OPENMMLAB_FILES,
    "resnext101_64x4d-ee2c6f71.pth": OPENMMLAB_FILES,
    "ResNet50_cos_pretrained.pdparams": PADDLE_FILES,
    "ResNet50_vd_ssld_pretrained.pdparams": PADDLE_FILES,
    "ResNet50_vd_ssld_v2_pretrained.pdparams": PADDLE_FILES,
    "ResNet101_vd_pretrained.pdparams": PADDLE_FILES,
    "MobileNetV3_large_x1_0_ssld_pretrained.pdparams": PADDLE_FILES,
}
OWNER = "backbone."
PADDLE_CLASSIFIERS = ("fc", "last_conv", "last_1x1_conv", "StructuredToParameterName@@")
# A randomly initialised stem must not be frozen, nor its statistics.
FROM_SCRATCH_OPTIONS = "model.backbone.init_cfg=None model.backbone.frozen_stages=-1 model.backbone.norm_eval=False"


def load_backbone(name: str) -> dict[str, Tensor]:
    """Load the weights of a backbone, without the classifier they were trained with.

    Args:
        name: `imagenet://FILE`, a file name, or a path.

    Raises:
        CheckpointError: the file is missing (the message says how to get it and how to train without it) or unusable.
    """
    path = locate(name)
    if not path.is_file():
        raise CheckpointError(_describe_missing(path))
    weights = read_source(path).weights
    if path.suffix == ".pdparams":
        return _convert_from_paddle(weights)
    weights = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    return _rename_deep_stem(weights) if "conv1.0.weight" in weights else weights


def _rename_deep_stem(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert timm's names of a stem with three convolutions, `conv1` and a last norm `bn1`, to mmdet's `stem`."""
    return {re.sub(r"^conv1\.", "stem.", re.sub(r"^bn1\.", "stem.7.", key)): value for key, value in weights.items()}


def _convert_from_paddle(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the names of a classifier trained in Paddle; tensors outside the backbone keep their names.

    Files for PaddleDetection 2 lack the prefix of the backbone, those for the static graph have none.
    """
    ours = [
        dialect.to_ours([prefix + name for name in weights])
        for dialect, prefix in ((PADDLE, OWNER), (PADDLE_STATIC, ""))
    ]
    names = max(ours, key=lambda translated: sum(name is not None for name in translated.values()))
    return {
        (name or own).removeprefix(OWNER): value
        for (own, value), name in zip(weights.items(), names.values(), strict=True)
        if not own.startswith(PADDLE_CLASSIFIERS)
    }


def locate(name: str) -> Path:
    """Return the path of a name; the file need not exist."""
    name = name.removeprefix(SCHEME)
    if os.path.dirname(name):
        return Path(name).expanduser()
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _describe_missing(path: Path) -> str:
    lines = [f"ImageNet weights {path.name}{suggestion(path.name, KNOWN_FILES)} are expected at {path}."]
    if path.name in KNOWN_FILES:
        fetch = (
            f"import os, torch; os.makedirs('{path.parent}', exist_ok=True); "
            f"torch.hub.download_url_to_file('{KNOWN_FILES[path.name]}{path.name}', '{path}')"
        )
        lines.append(f'  to get them:       python -c "{fetch}"')
    else:
        lines.append(f"  known names:       {', '.join(KNOWN_FILES)}")
    lines.append(f"  to train without:  --cfg-options {FROM_SCRATCH_OPTIONS}")
    return "\n".join(lines)
