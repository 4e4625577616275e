"""Options of an export, checked before anything is loaded."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from solo.errors import ExportError, suggestion
from solo.models.preprocessor import SIZE_DIVISOR
from solo.runtime.metadata import CONTRACTS, MAX_SIDE

FORMATS = ("onnx", "openvino", "pt2")
OPSETS = range(18, 21)
"""TensorRT 10.7 reads the norms of opset 18, not those of 21."""

SUFFIXES = {"onnx": ".onnx", "openvino": "_openvino", "pt2": ".pt2"}
_EXTRAS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino"), "pt2": ()}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and how.

    Attributes:
        format: "onnx", "openvino" (through ONNX) or "pt2" (`torch.export`).
        contract: "detections" or "raw", see `solo.runtime.metadata`.
        size: (H, W) of the input, multiples of 32. Images are then resized to fit it instead of as the config says.
            None takes every size.
        dynamic: take every size though `size` is given, which then only says how images are resized.
        batch: images of the input; None takes any number.
        half: float16 convolutions; norms, sigmoid and NMS stay in float32.
        int8: int8 convolutions (NNCF), calibrated on `data`.
        data: folder of images for calibration and verification; drawn shapes verify without it.
        opset: of ONNX.
        simplify: simplify the ONNX graph with onnxslim.
        verify: compare the file with the model.
        weights_licence: licence of the weights, for the metadata.

    Raises:
        ExportError: a value is unknown, or two options exclude each other.
    """

    format: str = "onnx"
    contract: str = "detections"
    size: tuple[int, int] | None = None
    dynamic: bool = False
    batch: int | None = None
    half: bool = False
    int8: bool = False
    data: Path | None = None
    opset: int | None = None
    simplify: bool = False
    verify: bool = True
    weights_licence: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (("format", self.format, FORMATS), ("contract", self.contract, CONTRACTS)):
            if value not in known:
                raise ExportError(
                    f"{name} {value!r} is unknown{suggestion(value, known)}; there are {', '.join(known)}"
                )
        self._check_input()
        self._check_precision()
        if self.opset is not None and (self.format != "onnx" or self.opset not in OPSETS):
            raise ExportError(
                f"opset {self.opset} of format {self.format}: only format onnx has opsets, from {OPSETS[0]} to "
                f"{OPSETS[-1]}"
            )
        if self.simplify and self.format != "onnx":
            raise ExportError(f"format {self.format} is not simplified; only onnx is")

    @property
    def precision(self) -> str:
        """As in the metadata."""
        return "int8" if self.int8 else "float16" if self.half else "float32"

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The one (H, W) that the graph takes, if it is one."""
        return None if self.dynamic else self.size

    def check_packages(self) -> None:
        """Check that the packages of the format are installed.

        Raises:
            ExportError: one is missing; the message names the extra.
        """
        for name in _EXTRAS[self.format]:
            import_extra(name, extra="openvino" if name == "openvino" else "onnx")
        if self.simplify:
            import_extra("onnxslim", extra="onnx")
        if self.int8:
            import_extra("nncf", extra="int8")

    def _check_input(self) -> None:
        if self.size and not all(0 < side <= MAX_SIDE and side % SIZE_DIVISOR == 0 for side in self.size):
            height, width = self.size
            raise ExportError(
                f"image size {height} x {width} (H x W): both must be multiples of {SIZE_DIVISOR} up to {MAX_SIDE}"
            )
        if self.batch is not None and self.batch < 1:
            raise ExportError(f"batch must be at least 1, got {self.batch}")
        if self.batch is not None and self.dynamic:
            raise ExportError(f"a dynamic export takes any number of images: leave out batch {self.batch}, or dynamic")

    def _check_precision(self) -> None:
        if self.half and self.int8:
            raise ExportError("half and int8 exclude each other")
        if self.int8 and self.format == "pt2":
            raise ExportError("format pt2 has no int8; use openvino or onnx")
        if self.int8 and self.data is None:
            raise ExportError("int8 needs data: a folder with some hundred images like those of the training")


def import_extra(name: str, *, extra: str) -> ModuleType:
    """Import a package that an extra of solo installs.

    Raises:
        ExportError: it is missing.
    """
    if name in ("nncf", "openvino"):
        # They would report their use to their makers, NNCF without asking. Without this package they do not.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ExportError(f'this export needs {name}: pip install "solov2[{extra}]"') from None
