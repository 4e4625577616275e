"""Pickles of arrays are read as tensors; code is refused by name."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from solo.checkpoints.reading import read_file
from solo.errors import CheckpointError


def write(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


class Named:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_values(tmp_path: Path, protocol: int) -> None:
    content = collections.OrderedDict(
        weight=np.arange(6, dtype=np.float32).reshape(2, 3),
        half=np.ones(2, np.float16),
        count=np.int64(3),
        empty=np.zeros((0, 4)),
        nested={"name": "x", "values": [1, 2.5, None, True], "pair": ("a", b"b")},
    )
    read = read_file(write(tmp_path / "a.pkl", content, protocol))
    assert list(read) == list(content)
    assert read["weight"].tolist() == content["weight"].tolist()
    assert read["weight"].dtype == torch.float32
    assert read["half"].dtype == torch.float16
    assert read["count"] == 3
    assert read["empty"].shape == (0, 4)
    assert read["nested"] == content["nested"]


def test_names_of_numpy_1_are_known(tmp_path: Path) -> None:
    content = pickle.dumps({"weight": np.arange(3)}, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    path = tmp_path / "old.pdparams"
    path.write_bytes(content)
    assert read_file(path)["weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "attack",
    [
        Named(os.system, "touch {mark}"),
        Named(eval, "open('{mark}', 'w')"),
        Named(getattr, np, "load"),
        Named(np.load, "{mark}"),
        Named(np.fromfile, "{mark}"),
    ],
    ids=["system", "eval", "getattr", "load", "fromfile"],
)
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, attack: Named) -> None:
    mark = tmp_path / "mark"
    function, arguments = attack.call
    attack = Named(function, *(a.format(mark=mark) if isinstance(a, str) else a for a in arguments))
    if function is getattr:
        attack = Named(getattr, "text", "upper")
    path = write(tmp_path / "attack.pdparams", {"weight": np.zeros(2), "other": attack})
    with pytest.raises(CheckpointError, match=f"carries code: .*{function.__name__}"):
        read_file(path)
    assert not mark.exists()


def test_arrays_of_objects_do_not_smuggle_code(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    array = np.array([Named(os.system, f"touch {mark}")], dtype=object)
    with pytest.raises(CheckpointError, match="carries code"):
        read_file(write(tmp_path / "attack.pkl", array))
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02}q\x00."[:3]])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pkl is damaged"):
        read_file(path)


def test_bytes_after_the_end_are_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.pkl", {"a": 1})
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="bytes after"):
        read_file(path)


def test_truncated_file_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.pkl", {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="damaged"):
        read_file(path)
