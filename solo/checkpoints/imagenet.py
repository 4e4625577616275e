"""ImageNet weights of backbones, by file name as torch's hub cache holds them; nothing is ever downloaded here.

Configs write `init_cfg=dict(type="Pretrained", checkpoint="imagenet://resnet50-0676ba61.pth")`. A bare name is looked
up in torch's hub cache (`TORCH_HOME` is honoured); a name with a folder is taken as a path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solo.checkpoints.loading import read_file
from solo.errors import CheckpointError, suggestion

SCHEME = "imagenet://"
TORCH_FILES = "https://download.pytorch.org/models/"
# Caffe style, for BGR images without division.
CAFFE_FILES = "https://download.openmmlab.com/pretrain/third_party/"
KNOWN_FILES = {
    "resnet18-f37072fd.pth": TORCH_FILES,
    "resnet34-b627a593.pth": TORCH_FILES,
    "resnet50-0676ba61.pth": TORCH_FILES,
    "resnet101-63fe2227.pth": TORCH_FILES,
    "resnet50_msra-5891d200.pth": CAFFE_FILES,
    "resnet101_msra-6cc46731.pth": CAFFE_FILES,
}
CLASSIFIER_PREFIX = "fc."
# A random stem must not stay frozen, nor its statistics.
FROM_SCRATCH_OPTIONS = "model.backbone.init_cfg=None model.backbone.frozen_stages=-1 model.backbone.norm_eval=False"


def load_backbone(name: str, *, map_location: Any = "cpu") -> dict[str, Tensor]:
    """Load the weights of a backbone, without the classifier they were trained with.

    Args:
        name: `imagenet://FILE`, a file name, or a path.
        map_location: Where the tensors go, as `torch.load` takes it.

    Raises:
        CheckpointError: The file is missing (the message says how to get it and how to train without) or unusable.
    """
    path = locate(name)
    if not path.is_file():
        raise CheckpointError(_how_to_get(path))
    weights = read_file(path, map_location=map_location)
    if not isinstance(weights, dict):
        raise CheckpointError(f"checkpoint {path}: expected a dict of weights, found {type(weights).__name__}")
    return {key: value for key, value in weights.items() if not key.startswith(CLASSIFIER_PREFIX)}


def locate(name: str) -> Path:
    """The path that a name stands for; the file need not exist."""
    name = name.removeprefix(SCHEME)
    if os.path.dirname(name):
        return Path(name).expanduser()
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _how_to_get(path: Path) -> str:
    lines = [f"ImageNet weights {path.name}{suggestion(path.name, KNOWN_FILES)} are expected at {path}."]
    if path.name in KNOWN_FILES:
        fetch = (
            f"import torch; torch.hub.load_state_dict_from_url('{KNOWN_FILES[path.name]}{path.name}', '{path.parent}')"
        )
        lines.append(f'  to get them:       python -c "{fetch}"')
    else:
        lines.append(f"  known names:       {', '.join(KNOWN_FILES)}")
    lines.append(f"  to train without:  --cfg-options {FROM_SCRATCH_OPTIONS}")
    return "\n".join(lines)
