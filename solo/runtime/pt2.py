"""Runs .pt2 files of `torch.export`, the one format that needs torch.

`torch.export.load` trusts a file: it unpickles objects, evaluates texts of symbolic sizes, looks operators up by dotted
names, and compiles guards to Python code. So the file is read here first: entries and texts that a graph of
`solo.export` does not need are refused, and torch gets a new archive of what was checked, without the sample inputs,
which are pickled.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.export.passes import move_to_device_pass

from solo.errors import ConfigError, ExportedModelError, printable
from solo.runtime.metadata import METADATA_KEY
from solo.runtime.sessions import Outputs, RuntimeOptions, parse_metadata, read_file, runtime_errors

_MODEL, _METADATA = "models/model.json", f"extra/{METADATA_KEY}"
_WEIGHTS, _CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_JSON_ENTRIES = (_MODEL, _WEIGHTS, _CONSTANTS)
_ENTRIES = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/\w+|archive_format|archive_version|byteorder|\.data/\w+|"
    + "|".join(map(re.escape, (*_JSON_ENTRIES, _SAMPLE_INPUTS)))
)
_OPERATORS = re.compile(
    r"torch\.ops\.aten\.(?!from_file|load|save)\w+\.\w+|_operator\.(add|sub|mul|floordiv|mod|neg|getitem|[gl][et]|eq|ne)"
    r"|torch\.sym_(max|min|ite|not)|torch\._check"
)
_STRINGS = {"trunc", "floor", "none", "constant", "zeros", "bilinear", "nearest"}
_FREE_TEXTS = {"stack_trace", "nn_module_stack", "torch_fn"}
_NAME = re.compile(r"[\w.+*-]*")
# Of sizes as sympy writes them, and of guards about the size of the input: characters, and words that may occur.
_SIZE = (
    re.compile(r"[\w\s(),'=+*/-]{0,2000}"),
    {
        *("Mul", "Add", "Integer", "Symbol", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "IntTrueDiv"),
        *("True", "False", "positive", "nonnegative", "integer"),
    },
)
_GUARD = (
    re.compile(r"[\w\s()\[\].,'=!<>%+*/-]{0,2000}"),
    {
        *("L", "images", "size", "and", "or", "not", "max", "min", "True", "False"),
    },
)
_WORD, _SYMBOL = re.compile(r"[^\W\d]\w*"), re.compile(r"[su]\d+")
_TREE_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


class Pt2Session:
    """torch, with the exported graph as a module."""

    def __init__(self, file: Path, device: str | None, options: RuntimeOptions) -> None:
        entries = _read_entries(read_file(file))
        self.metadata = parse_metadata(entries.get(_METADATA))
        _check_entries(entries)
        if options.precision == "bfloat16":
            raise ConfigError(f"precision {options.precision} is an option of OpenVINO; a .pt2 file has its own")
        self.device = _device(device)
        with runtime_errors("torch does not load it"):
            program = torch.export.load(_pack(entries))
            if self.device != "cpu":
                program = move_to_device_pass(program, self.device)
            self._module = program.module()
        if options.threads is not None:
            torch.set_num_threads(options.threads)

    def run(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """See `solo.runtime.sessions.Session`."""
        with runtime_errors(f"torch cannot run it on images of shape {images.shape}"), torch.no_grad():
            outputs = self._module(torch.from_numpy(images).to(self.device))
            arrays = tuple(output.numpy(force=True) for output in outputs)
        if len(arrays) != len(self.metadata.output_names):
            raise ExportedModelError(f"it has {len(arrays)} outputs, expected {', '.join(self.metadata.output_names)}")
        return arrays


def _device(device: str | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    with contextlib.suppress(RuntimeError, AssertionError):
        torch.empty(0, device=device)
        return device
    raise ConfigError(f"device {device!r} is unknown or unavailable to torch")


def _read_entries(content: bytes) -> dict[str, bytes]:
    """The entries of an archive, without the folder that all of them are in."""
    entries: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                name = entry.filename.partition("/")[2]
                if entry.compress_type != zipfile.ZIP_STORED or name in entries or not _ENTRIES.fullmatch(name):
                    raise _unsafe(f"the entry {entry.filename}")
                entries[name] = archive.read(entry)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError):
        raise ExportedModelError("it is no .pt2 archive, or it is truncated") from None
    return entries


def _pack(entries: dict[str, bytes]) -> io.BytesIO:
    """An archive of the entries with nothing pickled in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(f"model/{name}", b"" if name == _SAMPLE_INPUTS else content)
    file.seek(0)
    return file


def _check_entries(entries: dict[str, bytes]) -> None:
    try:
        graph, weights, constants = (json.loads(entries[name]) for name in _JSON_ENTRIES)
        for name, config in (("weight", weights), ("tensor", constants)):
            for value in config["config"].values():
                if value["use_pickle"] is not False or not re.fullmatch(rf"{name}_\d+", value["path_name"]):
                    raise _unsafe("a tensor that is pickled")
        _check(graph, key="")
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise ExportedModelError("it is no .pt2 file of this version of torch, or it is damaged") from None


def _check(value: Any, *, key: str) -> None:
    """Refuse what torch would call, evaluate or compile, other than operators and sizes."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not _NAME.fullmatch(name) or name in ("as_operator", "as_custom_obj"):
                raise _unsafe(f"the field {name}")
            _check(item, key=name)
    elif isinstance(value, list):
        for item in value:
            _check(item, key=key)
    elif isinstance(value, str) and not _is_safe(value, key):
        raise _unsafe(f"the text {value}")


def _is_safe(text: str, key: str) -> bool:
    if key in _FREE_TEXTS:
        return True
    if key == "target":
        return _OPERATORS.fullmatch(text) is not None or (_NAME.fullmatch(text) is not None and "." not in text)
    if key == "as_string":
        return text in _STRINGS
    if key in ("expr_str", "guards_code"):
        characters, words = _SIZE if key == "expr_str" else _GUARD
        is_known = all(word in words or _SYMBOL.fullmatch(word) for word in _WORD.findall(text))
        return characters.fullmatch(text) is not None and is_known and "**" not in text
    if key in ("in_spec", "out_spec"):
        return not text or all(_tree_is_safe(node) for node in json.loads(text)[1:])
    return _NAME.fullmatch(text) is not None


def _tree_is_safe(node: dict[str, Any]) -> bool:
    return node["type"] in _TREE_TYPES and all(map(_tree_is_safe, node["children_spec"]))


def _unsafe(what: str) -> ExportedModelError:
    return ExportedModelError(f"refused: {printable(what)[:200]} is not what solo export writes")
