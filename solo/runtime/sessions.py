"""Opens exported files with the runtime that their suffix names, and runs them. Runtimes are imported when needed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from solo.errors import (
    ConfigError,
    ExportedModelError,
    missing_file_message,
    options_from_mapping,
    printable,
)
from solo.runtime.metadata import INPUT_NAME, METADATA_KEY, ModelMetadata
from solo.runtime.onnx_file import read_onnx

_CUDA = "CUDAExecutionProvider"
_OPENVINO_START = re.compile(rb"\s*(<\?xml[^<>]*\?>\s*)?<net\s")
Outputs = tuple[npt.NDArray[Any], ...]
PRECISIONS = ("float32", "bfloat16")
MAX_FILE_BYTES = 2**31 - 1
"""What one ONNX message may have."""


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How an exported file is run.

    Attributes:
        threads: CPU threads; None leaves it to the runtime.
        precision: for OpenVINO, "float32" or "bfloat16". None means float32; of int8 files, what is not quantised is
            computed in bfloat16 if the CPU has it, as OpenVINO itself would choose for every file.

    Raises:
        ConfigError: a value is none of these.
    """

    threads: int | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and (type(self.threads) is not int or self.threads < 1):
            raise ConfigError(f"threads must be an integer of at least 1, got {self.threads!r}")
        if self.precision not in (None, *PRECISIONS):
            raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RuntimeOptions:
        """Options from a mapping of names to values, as the command line gives them.

        Raises:
            ConfigError: a name or a value is unknown.
        """
        return options_from_mapping(cls, values, kind="option of exported files")


class Session(Protocol):
    """An opened file.

    Attributes:
        metadata: what the file says about itself.
        device: where it runs, in the words of the runtime.
    """

    metadata: ModelMetadata
    device: str

    def run(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Compute the outputs, in the order of `metadata.output_names`, of (B, 3, H, W) images."""


def is_exported(path: object) -> bool:
    """Whether a path names an exported file, by its suffix, or a folder that holds one of OpenVINO."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    path = Path(path).expanduser()
    return path.suffix.lower() in _SESSIONS or path.name.endswith("_openvino") or any(path.glob("*.xml"))


def open_session(path: str | Path, *, device: str | None, options: RuntimeOptions) -> Session:
    """Open an exported file.

    Args:
        path: *.onnx, *.pt2, an OpenVINO *.xml, or the folder of one.
        device: in the words of the runtime: "cpu", "cuda:0" (ONNX Runtime, torch), "gpu", "npu" (OpenVINO). None
            selects the GPU for ONNX Runtime and torch if they have one, else the CPU.
        options: how it is run.

    Raises:
        ExportedModelError: the file is missing, foreign, damaged or unsafe, its metadata are wrong or missing, or its
            runtime is not installed.
        ConfigError: the device is unavailable, or the runtime does not have the option.
    """
    file = _file(Path(path).expanduser())
    try:
        return _SESSIONS[file.suffix.lower()](file, device, options)
    except ExportedModelError as error:
        raise ExportedModelError(f"exported model {printable(str(path))}: {error}") from None


def model_files(path: str | Path) -> list[Path]:
    """The files that an exported model is read from."""
    file = _file(Path(path).expanduser())
    return [file, file.with_suffix(".bin")] if file.suffix.lower() == ".xml" else [file]


def _file(path: Path) -> Path:
    """The file to open, for a folder the one of OpenVINO in it."""
    shown = printable(str(path))
    if path.is_dir():
        files = sorted(path.glob("*.xml"))
        if len(files) != 1:
            raise ExportedModelError(f"exported model {shown}: expected one .xml file in it, found {len(files)}")
        return files[0]
    if path.suffix.lower() not in _SESSIONS:
        raise ExportedModelError(f"exported model {shown}: expected .onnx, .pt2, or a folder of OpenVINO with an .xml")
    if not path.is_file():
        raise ExportedModelError(missing_file_message(path, kind="exported model"))
    return path


class OnnxSession:
    """ONNX Runtime. The file is read once, checked, and given to the runtime as bytes."""

    def __init__(self, file: Path, device: str | None, options: RuntimeOptions) -> None:
        content = read_file(file)
        found = read_onnx(content)
        if found.has_external_data:
            raise ExportedModelError("a tensor's values are in another file, which is not read")
        self.metadata = parse_metadata(found.metadata.get(METADATA_KEY))
        runtime = import_runtime("onnxruntime", extra="onnx")
        if options.precision == "bfloat16":
            raise ConfigError(f"precision {options.precision} is an option of OpenVINO; an ONNX file has its own")
        providers = _onnx_providers(device, runtime.get_available_providers())
        settings = runtime.SessionOptions()
        settings.log_severity_level = 4  # errors are raised; stderr need not repeat them
        settings.intra_op_num_threads = options.threads or 0
        settings.enable_mem_pattern = False  # as quick, and an image of 800 x 1344 pixels takes a third less
        with runtime_errors("ONNX Runtime does not open it"):
            # Without `enable_fallback=0` errors of a file are printed, and the file is opened a second time.
            self._session = runtime.InferenceSession(content, settings, providers=providers, enable_fallback=0)
            inputs = [(value.name, value.type, len(value.shape)) for value in self._session.get_inputs()]
            outputs = {value.name for value in self._session.get_outputs()}
        is_on_gpu = _CUDA in self._session.get_providers()  # without a GPU the session falls back to the CPU
        if device is not None and providers[0][0] == _CUDA and not is_on_gpu:
            raise ConfigError(f"device {device} is unavailable: ONNX Runtime cannot use {_CUDA}")
        self.device = (device or "cuda") if is_on_gpu else "cpu"
        check_names(inputs == [(INPUT_NAME, "tensor(uint8)", 4)], outputs, self.metadata)

    def run(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """See `Session`."""
        with runtime_errors(f"ONNX Runtime cannot run it on images of shape {images.shape}"):
            return tuple(self._session.run(self.metadata.output_names, {INPUT_NAME: images}))


def _onnx_providers(device: str | None, available: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """The execution providers for a device; the CPU takes what the first one lacks."""
    cpu = ("CPUExecutionProvider", dict[str, Any]())
    name, _, index = (device or "cuda").partition(":")
    if device == "cpu" or (device is None and _CUDA not in available):
        return [cpu]
    if name != "cuda" or not (index or "0").isdecimal():
        raise ConfigError(f"device {device!r} is unknown, expected cpu, cuda or cuda:N for an ONNX file")
    if _CUDA not in available:
        raise ConfigError(f"device {device} is unavailable: this ONNX Runtime has no {_CUDA} (pip: onnxruntime-gpu)")
    return [(_CUDA, {"device_id": int(index or 0)}), cpu]


class OpenVINOSession:
    """OpenVINO: the .xml and the .bin of the same name beside it."""

    def __init__(self, file: Path, device: str | None, options: RuntimeOptions) -> None:
        weights = file.with_suffix(".bin")
        if not weights.is_file():
            raise ExportedModelError(missing_file_message(weights, kind="weights"))
        with file.open("rb") as opened:
            # OpenVINO tries readers of other formats on what does not start like this.
            if not _OPENVINO_START.match(opened.read(1024)):
                raise ExportedModelError("it is no model of OpenVINO")
        runtime = import_runtime("openvino", extra="openvino")
        core = runtime.Core()
        with runtime_errors("OpenVINO does not read it"):
            model = core.read_model(file, weights)
            text = model.get_rt_info([METADATA_KEY]).astype(str) if model.has_rt_info([METADATA_KEY]) else None
            inputs = [(port.element_type.get_type_name(), INPUT_NAME in port.names) for port in model.inputs]
            outputs = {name for port in model.outputs for name in port.names}
        self.metadata = parse_metadata(text)
        self.device = (device or "cpu").upper()
        if self.device.partition(".")[0] not in {name.partition(".")[0] for name in core.available_devices}:
            devices = ", ".join(core.available_devices).lower()
            raise ConfigError(f"device {device} is unavailable: OpenVINO sees {devices}")
        check_names(inputs == [("u8", True)], outputs, self.metadata)
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if options.precision is not None or self.metadata.precision != "int8":
            settings["INFERENCE_PRECISION_HINT"] = "bf16" if options.precision == "bfloat16" else "f32"
        if options.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = options.threads
        with runtime_errors(f"OpenVINO cannot run it on {self.device}"):
            self._compiled = core.compile_model(model, self.device, settings)

    def run(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """See `Session`."""
        with runtime_errors(f"OpenVINO cannot run it on images of shape {images.shape}"):
            found = self._compiled(images)
            return tuple(found[name] for name in self.metadata.output_names)


def _open_pt2(file: Path, device: str | None, options: RuntimeOptions) -> Session:
    if importlib.util.find_spec("torch") is None:
        raise ExportedModelError("a .pt2 file needs torch; export to onnx or openvino to run without it")
    from solo.runtime.pt2 import Pt2Session

    return Pt2Session(file, device, options)


_SESSIONS: dict[str, Callable[[Path, str | None, RuntimeOptions], Session]] = {
    ".onnx": OnnxSession,
    ".xml": OpenVINOSession,
    ".pt2": _open_pt2,
}


def import_runtime(name: str, *, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name != name:
            raise
        raise ExportedModelError(f'{name} is not installed: pip install "solov2[{extra}]"') from None


@contextlib.contextmanager
def runtime_errors(problem: str) -> Iterator[None]:
    """Convert whatever a runtime raises into one line: runtimes have no common class of errors.

    Raises:
        ExportedModelError: the block raised an exception.
    """
    try:
        yield
    except Exception as error:
        reason = printable(" ".join(str(error).split()))
        raise ExportedModelError(f"{problem}: {reason[:300] or type(error).__name__}") from error


def parse_metadata(text: str | bytes | None) -> ModelMetadata:
    """Read the entry `METADATA_KEY` of a file.

    Raises:
        ExportedModelError: there is none, or it is wrong.
    """
    if text is None:
        raise ExportedModelError("it holds no metadata of solo; export the checkpoint with solo export")
    return ModelMetadata.from_json(text)


def check_names(has_input: bool, outputs: set[str], metadata: ModelMetadata) -> None:
    """Refuse a graph that does not have the input, or the outputs, of its contract."""
    if not has_input or not outputs >= set(metadata.output_names):
        names = ", ".join(metadata.output_names)
        raise ExportedModelError(
            f"expected the input {INPUT_NAME} (uint8, four axes) and the outputs {names} of contract "
            f"{metadata.contract}"
        )


def read_file(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ExportedModelError: it cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ExportedModelError(f"it has more than {MAX_FILE_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise ExportedModelError(f"it cannot be read: {error.strerror}") from None
