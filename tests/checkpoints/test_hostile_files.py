"""Hostile checkpoints end in one error line: no code, no crash, no flood of memory, nothing read beyond the file."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from solo.checkpoints.source import read_source
from solo.errors import CheckpointError
from tests.helpers.hostile_pickles import (
    array,
    billion_laughs,
    call,
    constant,
    dtype,
    mapping,
    name,
    nested_tuple,
    storage,
    tensor,
    weights_with,
    write_pickle,
    write_zip,
)
from tests.helpers.limits import run_limited

NUMBERS = np.array([1.5, -2.0, 3.0])
EMPTY = call("collections OrderedDict")


def read(path: Path, key: str = "b.weight") -> str:
    """What becomes of a file: the numbers of a tensor, or the error."""

    def report() -> str:
        weights = read_source(path).weights
        return json.dumps(weights[key].tolist() if key in weights else sorted(weights))

    outcome = run_limited(report)
    assert len(outcome.splitlines()) == 1, outcome
    return outcome


def assert_refused(path: Path, reason: str = "") -> None:
    outcome = read(path)
    assert outcome.startswith("CheckpointError: checkpoint "), outcome
    assert " is damaged or not a checkpoint" in outcome or " carries code" in outcome, outcome
    assert reason in outcome
    assert len(outcome) < 1000


# ------------------------------------------------------------------------------------------------ arrays of numpy
@pytest.mark.parametrize("write", [write_pickle, write_zip])
@pytest.mark.parametrize("flags", [1, 63, 255])
@pytest.mark.parametrize("fields", [None, {"x": (None, 0)}])
def test_flags_and_fields_of_a_dtype_are_ignored(
    tmp_path: Path, write: Callable[..., Path], flags: int, fields: Any
) -> None:
    """numpy itself would take the bytes for pointers to objects."""
    value = array((3,), dtype("f8", flags, fields), NUMBERS.tobytes())
    assert read(write(tmp_path / "a.pth", weights_with(value))) == json.dumps(NUMBERS.tolist())


@pytest.mark.parametrize("write", [write_pickle, write_zip])
@pytest.mark.parametrize("text", ["O", "|O", "V8", "S8", "M8", "f16", "c8", "f8,f8", "(2,)f8", "a" * 1000, ""])
def test_dtypes_other_than_plain_numbers_are_refused(tmp_path: Path, write: Callable[..., Path], text: str) -> None:
    assert_refused(write(tmp_path / "a.pth", weights_with(array((1,), dtype(text), bytes(8)))), "an array of type")


@pytest.mark.parametrize("write", [write_pickle, write_zip])
@pytest.mark.parametrize(
    "value",
    [
        array((2**15,), dtype("f4"), None),
        array((2**30, 2**10), dtype("f4"), None),
        array((3,), dtype("f8"), bytes(16)),
        array((1,), dtype("f8"), bytes(16)),
        array((-1,), dtype("f8"), bytes(8)),
        array((2**62, 4), dtype("f8"), b""),
        array((True,), dtype("f8"), bytes(8)),
        array(tuple([1] * 1000), dtype("f8"), bytes(8)),
        call("numpy.core.multiarray scalar", dtype("f8"), constant("")),
        call("numpy.core.multiarray scalar", dtype("O"), constant("x" * 8)),
        call("numpy ndarray", constant((4096,))),
        name("numpy ndarray") + constant(((4096,),)) + b"\x81",
        name("numpy ndarray"),
    ],
)
def test_arrays_whose_bytes_are_not_those_of_their_shape_are_refused(
    tmp_path: Path, write: Callable[..., Path], value: bytes
) -> None:
    assert_refused(write(tmp_path / "a.pth", weights_with(value)))


# ----------------------------------------------------------------------------------------------- tensors of torch
@pytest.mark.parametrize(
    "value",
    [
        call("torch FloatTensor", constant(8192)),
        call("torch Tensor", constant(8192)),
        name("torch FloatTensor") + constant((8192,)) + b"\x81",
        call("torch.nn.parameter Parameter", constant(8192)),
        call("torch FloatStorage", constant(8192)),
        call("torch.storage UntypedStorage", constant(8192)),
        tensor((5,), (1,)),
        tensor((4,), (1,), offset=1),
        tensor((2,), (4,)),
        tensor((2, 2), (-1, 1), offset=2),
        tensor((4,), (1,), offset=-1),
        tensor((2**20, 2**20), (0, 0)),
        tensor((2**40,), (0,)),
        tensor((2**62, 4), (1, 1)),
        tensor((4,), (1,), count=5),
        tensor((4,), (1,), count=2**40),
        tensor((4,), (1,), key="missing"),
        tensor((4,), (1,), key="../data.pkl"),
        tensor((2,), (1,), kind="ComplexFloatStorage", count=2),
        tensor((4,), (1,), kind="QInt8Storage", count=16),
        tensor((1.0,), (1,)),  # type: ignore[arg-type]
        constant("storage") + b"Q",
        constant(("module", 1, 2)) + b"Q",
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path: Path, value: bytes) -> None:
    assert_refused(write_zip(tmp_path / "a.pth", weights_with(value)))


def _sparse() -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([[0, 1]]), torch.ones(2), (2,))


UNUSUAL: dict[str, Callable[[], Any]] = {
    "sparse": _sparse,
    "sparse_csr": lambda: torch.eye(2).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "meta": lambda: torch.empty(2, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "conjugated": lambda: torch.ones(2, dtype=torch.complex64).conj(),
    "float8": lambda: torch.ones(2).to(torch.float8_e4m3fn),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_tensors_without_content_or_of_unusual_kinds_are_named(tmp_path: Path, kind: str) -> None:
    torch.save({"a.weight": torch.ones(2), "b.weight": UNUSUAL[kind]()}, tmp_path / "a.pth")
    assert_refused(tmp_path / "a.pth", "it holds a")


@pytest.mark.parametrize("kind", ["complex", "float8"])
def test_unusual_types_in_safetensors_are_named(tmp_path: Path, kind: str) -> None:
    number = {"complex": "C64", "float8": "F8_E4M3"}[kind]
    length = {"complex": 16, "float8": 2}[kind]
    header = json.dumps({"b.weight": {"dtype": number, "shape": [2], "data_offsets": [0, length]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(pack("<Q", len(header)) + header + bytes(length))
    assert_refused(tmp_path / "a.safetensors")


# ----------------------------------------------------------------------------------------------------------- bombs
@pytest.mark.parametrize("write", [write_pickle, write_zip])
@pytest.mark.parametrize(
    "key",
    [
        nested_tuple(1_000_000),
        billion_laughs(60),
        constant((1, 2)),
        constant("x" * 100_000),
        EMPTY,
        call("builtins bytes"),
    ],
    ids=["deep", "laughs", "tuple", "long", "dict", "bytes"],
)
def test_keys_are_short_strings_or_numbers(tmp_path: Path, write: Callable[..., Path], key: bytes) -> None:
    assert_refused(write(tmp_path / "a.pth", weights_with(constant(1), key)))


@pytest.mark.parametrize("write", [write_pickle, write_zip])
@pytest.mark.parametrize(
    "value",
    [
        nested_tuple(1_000_000),
        billion_laughs(60),
        b"]r\x07\x00\x00\x00j\x07\x00\x00\x00a",
        b"}r\x07\x00\x00\x00" + constant("x") + b"j\x07\x00\x00\x00s",
        call("builtins tuple", call("builtins bytes", constant(10**9))),
        call("builtins tuple", constant("x" * 100)),
        call("builtins bytes", constant(10**9)),
        call("builtins bytearray", constant(10**9)),
        call("builtins set", call("builtins bytes", constant(10**9))),
        call("builtins frozenset", b"(" + nested_tuple(1_000_000) + b"t"),
        call("builtins set", b"](" + nested_tuple(1_000_000) + b"e"),
        *(call("_codecs encode", constant("x" * 100), constant(codec)) for codec in ("zip", "idna", "hex", "utf-32")),
        call("_codecs encode", constant("x"), constant("../../etc/passwd")),
        call("collections Counter", constant("x" * 100)),
        call("collections OrderedDict", b"(" + (nested_tuple(1_000_000) + constant(1) + b"\x86") + b"t"),
    ],
)
def test_values_that_grow_are_refused(tmp_path: Path, write: Callable[..., Path], value: bytes) -> None:
    assert_refused(write(tmp_path / "a.pth", weights_with(value)))


@pytest.mark.parametrize("write", [write_pickle, write_zip])
def test_one_text_encoded_many_times_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    text = constant("x" * 1_000_000) + b"r\x07\x00\x00\x000"
    encode = name("_codecs encode") + b"j\x07\x00\x00\x00" + constant("latin1") + b"\x86R"
    assert_refused(write(tmp_path / "a.pth", weights_with(text + b"](" + encode * 10_000 + b"e")))


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x8d" + pack("<Q", 2**40),
        b"\x8e" + pack("<Q", 2**40),
        b"\x96" + pack("<Q", 2**40),
        b"\x95" + pack("<Q", 2**40),
        b"X" + pack("<I", 2**31),
        b"\x8b" + pack("<I", 2**30),
        b"Nr" + pack("<I", 2**32 - 1) + b"j" + pack("<I", 7),
        b"T" + pack("<i", -1),
        b"(imodule\nname\n",
        b"(" + name("collections OrderedDict") + b"o",
        b"\x82\x01",
    ],
)
def test_lengths_beyond_the_file_are_refused(tmp_path: Path, opcodes: bytes) -> None:
    assert_refused(write_pickle(tmp_path / "a.pkl", weights_with(opcodes)))


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    value = tensor((2**28,), (1,), count=2**28)
    write_zip(path, weights_with(value), storages={"0": bytes(2**30)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2_000_000
    assert_refused(path, "compressed")


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """Many names in the directory for one block would multiply the size of the file."""
    path = write_zip(tmp_path / "a.pth", constant(1), storages={"0": bytes(1_000_000)})
    values = [tensor((250_000,), (1,), count=250_000, key=str(key)) for key in range(1000)]
    content = mapping(*((constant(str(key)), value) for key, value in enumerate(values)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("archive/data/0", bytes(1_000_000))
        entry = archive.getinfo("archive/data/0")
        for key in range(1, 1000):
            copy = zipfile.ZipInfo(f"archive/data/{key}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(copy, field, getattr(entry, field))
            archive.filelist.append(copy)
    assert path.stat().st_size < 2_000_000
    assert_refused(path)


def test_storages_of_the_older_format_are_bounded_by_the_file(tmp_path: Path) -> None:
    reference = storage(2**34)[:-2] + b"NtQ"
    parts = [reference, *(constant(value) for value in (0, (2**34,), (1,), False)), EMPTY]
    content = mapping((constant("b.weight"), call("torch._utils _rebuild_tensor_v2", *parts)))
    system = dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))
    header = b"".join(pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, system))
    (tmp_path / "a.pth").write_bytes(header + b"\x80\x02" + content + b"." + pickle.dumps(["0"], protocol=2))
    assert_refused(tmp_path / "a.pth", "more content than the file is large")


# ------------------------------------------------------------------------------------------------------------ code
def test_a_history_cannot_bring_functions_along(tmp_path: Path) -> None:
    """mmengine would add the statistics of the file to those of the class."""
    methods = mapping((constant("mean"), constant("replaced")))
    state = mapping(
        (constant("max_length"), constant(10)),
        (constant("_log_history"), array((1,), dtype("f8"), np.ones(1).tobytes())),
        (constant("_count_history"), array((1,), dtype("i8"), np.ones(1, np.int64).tobytes())),
        (constant("statistics_methods"), methods),
    )
    value = name("mmengine.logging.history_buffer HistoryBuffer") + b")\x81" + state + b"b"
    path = write_zip(tmp_path / "a.pth", weights_with(value))
    HistoryBuffer()  # registers its own statistics
    before = dict(HistoryBuffer._statistics_methods)
    try:
        read_source(path)
        assert HistoryBuffer._statistics_methods == before
    finally:
        HistoryBuffer._statistics_methods.update(before)


@pytest.mark.parametrize("attribute", ["__init__", "__globals__", "register_statistics", "mean.__globals__"])
def test_getattr_reaches_nothing(tmp_path: Path, attribute: str) -> None:
    history = name("mmengine.logging.history_buffer HistoryBuffer")
    path = write_zip(tmp_path / "a.pth", weights_with(call("__builtin__ getattr", history, constant(attribute))))
    assert_refused(path, "getattr")


def test_names_of_a_file_are_printed_without_control_characters(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", weights_with(name("evil\x1b[2J\x07 run")))
    with pytest.raises(CheckpointError, match=r"would call 'evil\[2J\.run'"):
        read_source(path)


def test_sound_files_in_all_formats_are_read(tmp_path: Path) -> None:
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "b.weight": torch.ones(2).half()}
    torch.save(weights, tmp_path / "zip.pth")
    torch.save(weights, tmp_path / "older.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({key: value.numpy() for key, value in weights.items()}))
    buffer = io.BytesIO()
    torch.save({"model": weights}, buffer)
    (tmp_path / "zip.pdparams").write_bytes(buffer.getvalue())
    for path in tmp_path.iterdir():
        read = read_source(path).weights
        assert list(read) == list(weights)
        assert all(torch.equal(read[key], value) and read[key].dtype == value.dtype for key, value in weights.items())
