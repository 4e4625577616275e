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

# Module -> distribution and what it is for: solo works without them.
OPTIONAL = {
    "matplotlib": ("matplotlib", "training curves as an image"),
    "onnx": ("onnx", "exported models"),
    "onnxruntime": ("onnxruntime", "exported models"),
    "openvino": ("openvino", "exported models on Intel hardware"),
    "nncf": ("nncf", "int8 models"),
}

# Versions that the suite was run with, not each with each.
TESTED_PYTHON = ("3.10", "3.11", "3.13")
TESTED_TORCH = ("2.4", "2.13", "2.14")
