"""Reading the recorded numbers of other implementations (`../shared/golden`, one folder a model)."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Golden:
    """One fixture: `meta` (facts, weight rule, tolerances) and `arrays` (numbers).

    Args:
        folder: holds meta.json and io.npz.
    """

    def __init__(self, folder: Path) -> None:
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        self.arrays = np.load(folder / "io.npz")

    def state_dict(self) -> dict[str, Tensor]:
        """Redraw the peer's weights from their names; the recorded sha256 confirms them."""
        digest = hashlib.sha256()
        tensors = {}
        aliases = self.meta.get("aliases", {})
        for name, shape, dtype in self.meta["state_dict"]:
            tensors[name] = torch.from_numpy(self._draw(aliases.get(name, name), shape, dtype))
            digest.update(tensors[name].numpy().tobytes())
        if digest.hexdigest() != self.meta["weights_sha256"]:
            raise ValueError(f"weights of {self.meta['fixture']} differ from the recorded ones")
        return tensors

    def tensor(self, name: str) -> Tensor:
        """A recorded array."""
        return torch.from_numpy(self.arrays[name])

    def masks(self, name: str) -> Tensor:
        """Recorded binary masks (count, height, width) bool."""
        count, height, width = (int(side) for side in self.arrays[f"{name}.shape"])
        bits = self.arrays[f"{name}.bits"]
        if count == 0:
            return torch.zeros(0, height, width, dtype=torch.bool)
        unpacked = np.unpackbits(bits, axis=1, count=height * width)
        return torch.from_numpy(unpacked.reshape(count, height, width).astype(bool))

    def difference(self, name: str, tensor: Tensor) -> float:
        """Largest deviation of a whole tensor from the recorded sample of it, in units of the allowed one."""
        recorded = self.tensor(name)
        step = self.meta["subsampled"].get(name, {"step": 1})["step"]
        allowed = 1e-3 * tensor.std().item() + 1e-5
        return (tensor.flatten()[::step] - recorded.flatten()).abs().max().item() / allowed

    def _draw(self, name: str, shape: list[int], dtype: str) -> np.ndarray:
        rule = next(rule for rule in self.meta["weight_rules"] if _applies(rule, name, shape, dtype))
        if rule["op"] == "zeros":
            return np.zeros(shape, dtype=dtype)
        generator = np.random.default_rng(zlib.crc32(f"{self.meta['salt']}:{name}".encode()))
        fan_in = int(np.prod(shape[1:]))
        if rule["op"] == "constant":
            values = np.full(shape, rule["value"])
        elif rule["op"] == "uniform":
            values = generator.uniform(rule["low"], rule["high"], shape)
        elif rule["op"] == "normal":
            values = generator.standard_normal(shape) * rule["std"] + rule.get("mean", 0.0)
        elif rule["op"] == "fan_normal":
            values = generator.standard_normal(shape) * (rule["std"] / np.sqrt(fan_in))
        else:
            values = generator.standard_normal(shape) * np.sqrt(2 / fan_in)
        return (values * rule.get("gain", 1.0)).astype(np.float32)


def _applies(rule: dict[str, Any], name: str, shape: list[int], dtype: str) -> bool:
    dimensions = len(shape)
    return (
        re.search(rule["pattern"], name) is not None
        and rule.get("ndim_min", 0) <= dimensions <= rule.get("ndim_max", dimensions)
        and ("dtype_prefix" not in rule or dtype.startswith(tuple(rule["dtype_prefix"])))
    )
