"""Options for inference with a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from solo.deployment.packed_convs import packing_is_available
from solo.errors import ConfigError, options_from_mapping

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class DeploymentOptions:
    """How a trained network is run. The defaults run it as it was trained.

    Each option can be used alone. `fold_norms`, `channels_last`, `pack_weights` and `compile` change results by
    rounding alone (1e-5 of the largest output); `dtype` rounds to fewer digits.

    Attributes:
        fold_norms: fold each batch normalisation into the convolution before it.
        channels_last: memory layout: True for the whole network, "backbone" for the backbone alone, whose feature maps
            are returned in the default layout.
        pack_weights: on the CPU, convert the weights of plain convolutions to oneDNN's layout once instead of at every
            call. The largest gain on a CPU; these convolutions return channels-last maps.
        compile: compile the network with `torch.compile`; a mapping gives its arguments. Needs a C++ compiler on the
            CPU. Every new image size compiles again.
        dtype: type of the network's convolutions and linear layers, "float32", "bfloat16" or "float16". Images are
            normalised and outputs decoded in float32; the backbone's first convolution, the norms and the predictors
            compute in float32 too, since their rounding changes detections most. Float16 on a CPU is correct but slow.
        threads: CPU threads of the process; None leaves their number.

    Raises:
        ConfigError: a value is unknown, or two options exclude each other.
    """

    fold_norms: bool = False
    channels_last: bool | str = False
    pack_weights: bool = False
    compile: bool | Mapping[str, Any] = False
    dtype: str = "float32"
    threads: int | None = None

    def __post_init__(self) -> None:
        threads, has_compile_arguments = self.threads, isinstance(self.compile, Mapping)
        expected = {
            "fold_norms": (isinstance(self.fold_norms, bool), "True or False"),
            "channels_last": (self.channels_last in (True, False, "backbone"), "True, False or 'backbone'"),
            "pack_weights": (isinstance(self.pack_weights, bool), "True or False"),
            "compile": (isinstance(self.compile, bool) or has_compile_arguments, "True, False or a dict"),
            "dtype": (self.dtype in DTYPES, f"one of {', '.join(DTYPES)}"),
            "threads": (threads is None or (isinstance(threads, int) and threads >= 1), "an integer of at least 1"),
        }
        for name, (is_valid, form) in expected.items():
            if not is_valid:
                raise ConfigError(f"deployment option {name} must be {form}, got {getattr(self, name)!r}")
        if self.compiles and self.pack_weights:
            raise ConfigError(
                "deployment options compile and pack_weights exclude each other; torch.compile packs weights with "
                "compile=dict(options=dict(freezing=True))"
            )

    @property
    def compiles(self) -> bool:
        """Whether the network is compiled; an empty mapping means `torch.compile` with its defaults."""
        return self.compile is not False

    @classmethod
    def recommended(cls, device: torch.device) -> DeploymentOptions:
        """Options that are faster on every machine and change results by rounding alone."""
        packs = device.type == "cpu" and packing_is_available()
        return cls(fold_norms=True, channels_last=True, pack_weights=packs)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> DeploymentOptions:
        """Options from a mapping of names to values, as the command line gives them.

        Raises:
            ConfigError: a name or a value is unknown.
        """
        return options_from_mapping(cls, values, kind="deployment option")
