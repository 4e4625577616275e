"""Files of other code bases: which tensors they hold, wherever these are."""

from __future__ import annotations

import collections
import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from solo.checkpoints.source import read_source
from solo.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
OTHER = {name: tensor + 1 for name, tensor in WEIGHTS.items()}


def saved(tmp_path: Path, content: Any, name: str = "source.pth") -> Path:
    torch.save(content, tmp_path / name)
    return tmp_path / name


def assert_is(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "meta": {"epoch": 3}, "optimizer": {"state": {}}},
        {"model": WEIGHTS, "iteration": 9},
        {"model": {"state_dict": WEIGHTS}},
        {"ema": WEIGHTS},
        {"model_ema": {"module." + name: tensor for name, tensor in WEIGHTS.items()}},
        collections.OrderedDict(("module." + name, tensor) for name, tensor in WEIGHTS.items()),
    ],
)
def test_where_the_weights_are(tmp_path: Path, content: Any) -> None:
    source = read_source(saved(tmp_path, content))
    assert_is(source.weights, WEIGHTS)
    assert source.sha256 == hashlib.sha256(source.path.read_bytes()).hexdigest()


def test_a_second_set_of_weights_is_reported_and_can_be_chosen(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": WEIGHTS, "ema": OTHER})
    source = read_source(path)
    assert_is(source.weights, WEIGHTS)
    assert source.ignored == {"ema": "another set of weights; --weights-key ema selects it"}
    assert_is(read_source(path, weights_key="ema").weights, OTHER)


def test_values_that_are_no_tensors_are_reported(tmp_path: Path) -> None:
    source = read_source(saved(tmp_path, {**WEIGHTS, "epoch": 3}))
    assert_is(source.weights, WEIGHTS)
    assert source.ignored == {"epoch": "not a tensor but int"}


@pytest.mark.parametrize("name", ["source.pdparams", "source.pkl"])
def test_pickles_of_arrays(tmp_path: Path, name: str) -> None:
    arrays = {key: tensor.numpy() for key, tensor in WEIGHTS.items()}
    content = {**arrays, "StructuredToParameterName@@": {"a.weight": "linear_0.w_0"}}
    (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
    source = read_source(tmp_path / name)
    assert_is(source.weights, WEIGHTS)
    assert source.ignored == {"StructuredToParameterName@@": "not a tensor but dict"}


def test_paddles_pairs_of_name_and_array_and_foreign_byte_order(tmp_path: Path) -> None:
    arrays = {key: ("linear_0.w_0", tensor.numpy().astype(">f4")) for key, tensor in WEIGHTS.items()}
    (tmp_path / "source.pdparams").write_bytes(pickle.dumps({"model": arrays}, protocol=4))
    assert_is(read_source(tmp_path / "source.pdparams").weights, WEIGHTS)


def test_safetensors(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "source.safetensors")
    weights = read_source(tmp_path / "source.safetensors").weights
    assert_is(dict(sorted(weights.items())), dict(sorted(WEIGHTS.items())))
    (tmp_path / "source.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match=r"source\.safetensors is damaged"):
        read_source(tmp_path / "source.safetensors")


@pytest.mark.parametrize(
    ("meta", "classes"),
    [
        ({"CLASSES": ("cat", "dog")}, ("cat", "dog")),
        ({"dataset_meta": {"classes": ["cat"]}}, ("cat",)),
        ({"dataset_meta": {"CLASSES": ("cat",), "PALETTE": []}}, ("cat",)),
        ({"epoch": 1}, None),
    ],
)
def test_class_names(tmp_path: Path, meta: dict[str, Any], classes: tuple[str, ...] | None) -> None:
    assert read_source(saved(tmp_path, {"state_dict": WEIGHTS, "meta": meta})).classes == classes


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"state_dict": {"epoch": 3}}, {}])
def test_a_file_without_tensors_says_what_it_has(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match=r"source\.pth: expected tensors by name, found (keys|list)"):
        read_source(saved(tmp_path, content))


def test_missing_file_and_missing_key(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": WEIGHTS})
    with pytest.raises(CheckpointError, match=r"did you mean 'source\.pth'"):
        read_source(tmp_path / "sourc.pth")
    with pytest.raises(CheckpointError, match=r"has no key 'model\.ema': 'ema' is not among \['a\.bias'"):
        read_source(path, weights_key="model.ema")


def test_code_in_a_torch_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="carries code"):
        read_source(saved(tmp_path, {"model": WEIGHTS, "hook": np.load}))
