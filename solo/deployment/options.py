"""What can be switched on when a trained network is put to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from solo.deployment.packed_convs import packing_is_available
from solo.errors import ConfigError, suggestion

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LAYOUTS = (False, True, "backbone")


@dataclass(frozen=True, kw_only=True)
class DeploymentOptions:
    """How a trained network is run. Without arguments it runs as it was trained.

    Each can be chosen alone. `fold_norms`, `channels_last`, `pack_weights`, `compile` and `cuda_graphs` change results
    by rounding alone (1e-5 of the largest output); `dtype` rounds to fewer digits.

    Attributes:
        fold_norms: multiply batch normalisation into the convolution before it.
        channels_last: keep channels innermost in memory: True everywhere, "backbone" in the backbone alone, whose maps
            come back with the channels outermost.
        pack_weights: on the CPU, bring the weights of plain convolutions into oneDNN's own layout once, not at every
            call. The biggest gain there; the convolutions compute in the channels-last layout.
        compile: hand the network to `torch.compile`; a mapping gives its arguments. Needs a C++ compiler on the CPU.
            Every new image size compiles again.
        cuda_graphs: on a GPU, record the network once for each image size and replay it.
        dtype: type of the network's convolutions and linear layers, "float32", "bfloat16" or "float16". Images are
            normalised, and detections taken from the outputs, in float32 all the same; the backbone's first
            convolution, norms and predictors compute in float32 too, since most changes of detections come from their
            rounding. Float16 on a CPU is correct but slow.
        threads: CPU threads of the process, None to leave their number.

    Raises:
        ConfigError: a value is unknown, or two options exclude each other.
    """

    fold_norms: bool = False
    channels_last: bool | str = False
    pack_weights: bool = False
    compile: bool | Mapping[str, Any] = False
    cuda_graphs: bool = False
    dtype: str = "float32"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"deployment option dtype must be one of {', '.join(DTYPES)}; came {self.dtype!r}")
        if self.channels_last not in LAYOUTS:
            raise ConfigError(f"deployment option channels_last: True, False or 'backbone'; came {self.channels_last}")
        if self.threads is not None and (not isinstance(self.threads, int) or self.threads < 1):
            raise ConfigError(f"deployment option threads must be a number from 1 on; came {self.threads!r}")
        for name in ("fold_norms", "pack_weights", "cuda_graphs"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"deployment option {name} is True or False; came {getattr(self, name)!r}")
        if not isinstance(self.compile, (bool, Mapping)):
            raise ConfigError(f"deployment option compile is True, False or a dict; came {self.compile!r}")
        if self.compiles and (self.pack_weights or self.cuda_graphs):
            other = "pack_weights" if self.pack_weights else "cuda_graphs"
            raise ConfigError(
                f"deployment options compile and {other} exclude each other; torch.compile has its own: "
                "compile=dict(options=dict(freezing=True)) or compile=dict(mode='reduce-overhead')"
            )

    @property
    def compiles(self) -> bool:
        """Whether `torch.compile` is asked for; an empty mapping stands for its defaults."""
        return self.compile is not False

    @classmethod
    def recommended(cls, device: torch.device) -> DeploymentOptions:
        """What gains everywhere and changes results by rounding alone."""
        packs = device.type == "cpu" and packing_is_available()
        return cls(fold_norms=True, channels_last=True, pack_weights=packs)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> DeploymentOptions:
        """The options of a mapping, as a command line gives them.

        Raises:
            ConfigError: a name or a value is unknown.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(
                    f"deployment option {name!r} is unknown{suggestion(name, known)}; there are {', '.join(known)}"
                )
        return cls(**values)
