"""load_checkpoint and load_weights: nothing in a file is run, and every failure names the file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import nn

from solo.checkpoints import load_checkpoint, load_weights
from solo.checkpoints.loading import check_resumable, count_fitting
from solo.errors import CheckpointError


class Malicious:
    """Creates a file when it is unpickled without limits."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.trace,)


class StealsByGetattr:
    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return getattr, (HistoryBuffer, "__init__")


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_what_mmengine_stores_is_loaded(tmp_path: Path) -> None:
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = {
        "state_dict": nn.Linear(2, 1).state_dict(),
        "message_hub": {"log_scalars": {"loss": history}, "runtime_info": {"best_score": np.float64(0.5)}},
        "meta": {"dataset_meta": {"classes": ("a", "b")}},
    }
    loaded = load_checkpoint(saved(tmp_path / "a.pth", content))
    assert loaded["message_hub"]["log_scalars"]["loss"].statistics("mean") == 1.5
    assert loaded["message_hub"]["runtime_info"]["best_score"] == 0.5
    assert loaded["meta"]["dataset_meta"]["classes"] == ("a", "b")


def test_the_prefix_of_a_distributed_wrapper_is_taken_off(tmp_path: Path) -> None:
    weights = nn.Linear(2, 1).state_dict()
    content = {"state_dict": {f"module.{name}": value for name, value in weights.items()}}
    loaded = load_checkpoint(saved(tmp_path / "a.pth", content))
    assert list(loaded["state_dict"]) == ["weight", "bias"]
    model = nn.Linear(2, 1)
    load_weights(model, loaded)
    assert torch.equal(model.weight, weights["weight"])
    assert count_fitting(model, loaded) == "2 of 2"


@pytest.mark.parametrize("core", ["core", "_core"])
def test_arrays_of_both_numpy_generations_are_loaded(tmp_path: Path, core: str) -> None:
    path = saved(tmp_path / "a.pth", {"state_dict": {}, "array": np.arange(3.0)})
    written = "numpy._core.multiarray" if np.__version__ >= "2" else "numpy.core.multiarray"
    # The zip entry is stored, not compressed, and its length changes: so the pickle is packed anew.
    reader = torch._C.PyTorchFileReader(str(path))
    pickled = reader.get_record("data.pkl").replace(written.encode(), f"numpy.{core}.multiarray".encode())
    other = tmp_path / "b.pth"
    writer = torch._C.PyTorchFileWriter(str(other))
    writer.write_record("data.pkl", pickled, len(pickled))
    writer.write_record("byteorder", b"little", 6)
    writer.write_end_of_file()
    assert load_checkpoint(other)["array"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("load", [load_checkpoint, CheckpointLoader.load_checkpoint])
def test_checkpoint_with_code_is_refused_and_the_code_not_run(tmp_path: Path, as_zip: bool, load: object) -> None:
    trace, path = tmp_path / "trace", tmp_path / "bad.pth"
    content = {"state_dict": {}, "extra": Malicious(trace)}
    if as_zip:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match=r"bad\.pth carries code: .*getattr|bad\.pth carries code: .*pathlib"):
        load(str(path))  # type: ignore[operator]
    assert not trace.exists()


def test_getattr_is_allowed_for_the_statistics_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "bad.pth", {"state_dict": {}, "extra": StealsByGetattr()})
    with pytest.raises(CheckpointError, match=r"bad\.pth carries code: .*getattr"):
        load_checkpoint(path)


def test_missing_file_names_the_path_and_a_near_file(tmp_path: Path) -> None:
    saved(tmp_path / "epoch_12.pth", {})
    with pytest.raises(CheckpointError, match=r"epoch_13\.pth does not exist \(did you mean 'epoch_12\.pth'\?\)"):
        load_checkpoint(tmp_path / "epoch_13.pth")


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "text"])
def test_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = saved(tmp_path / "damaged.pth", {"state_dict": {"weight": torch.zeros(1000)}})
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "truncated": content[: len(content) // 2],
            "garbage": bytes(range(256)) * 4,
            "text": b"<!DOCTYPE html><title>404</title>",
        }[damage]
    )
    with pytest.raises(CheckpointError, match=r"damaged\.pth is damaged or not a checkpoint \(\d+ bytes"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "found"), [({"model": {}, "epoch": 3}, "keys model, epoch"), ([1], "list"), ({"state_dict": 1}, "keys")]
)
def test_file_without_state_dict(tmp_path: Path, content: object, found: str) -> None:
    with pytest.raises(CheckpointError, match=rf"a\.pth: expected a dict with `state_dict`, found {found}"):
        load_checkpoint(saved(tmp_path / "a.pth", content))


def test_weights_are_copied() -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(target, {"state_dict": source.state_dict()})
    assert torch.equal(target.weight, source.weight)


def test_weights_of_another_model_are_listed_and_nothing_is_copied() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = model[0].bias.detach().clone()
    weights = {
        "0.weight": torch.zeros(4, 3),
        "0.bias": torch.full((2,), 9.0),
        **{f"head.{index}": torch.zeros(1) for index in range(7)},
    }
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, {"state_dict": weights}, source="epoch_1.pth")
    message = str(caught.value)
    assert message.startswith("epoch_1.pth does not fit the model Sequential:")
    assert "1 of another shape: 0.weight: expected (2, 3), found (4, 3)" in message
    assert "2 missing: 1.weight (2, 2), 1.bias (2,)" in message
    assert "7 unexpected: head.0 (1,)" in message
    assert "(2 more)" in message
    assert torch.equal(model[0].bias, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_an_error(value: float) -> None:
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    weights = {"weight": torch.zeros(2, 3), "bias": torch.tensor([1.0, value])}
    for load in (load_weights, count_fitting):
        with pytest.raises(CheckpointError, match=r"a\.pth: 1 tensors have NaN or infinite values: bias \(1 of 2"):
            load(model, {"state_dict": weights}, source="a.pth")
    assert torch.equal(model.weight, before)


def test_a_cast_to_infinity_is_an_error() -> None:
    weights = {"weight": torch.full((2, 3), 1e300, dtype=torch.float64), "bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="NaN or infinite values: weight"):
        load_weights(nn.Linear(3, 2), {"state_dict": weights})


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8])
def test_a_cast_from_whole_numbers_is_an_error(dtype: torch.dtype) -> None:
    weights = {"weight": torch.ones(2, 3).to(dtype), "bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"weight: expected \(2, 3\), found \(2, 3\) of integers"):
        load_weights(nn.Linear(3, 2), {"state_dict": weights})


@pytest.mark.parametrize("value", [None, 3, [1], "text", torch.ones(2)])
def test_weights_that_are_no_tensors_are_an_error(value: object) -> None:
    with pytest.raises(CheckpointError, match=rf"weight: expected \(2, 3\), found {type(value).__name__}|\(2,\)"):
        load_weights(nn.Linear(3, 2), {"state_dict": {"weight": value, "bias": torch.zeros(2)}})


@pytest.mark.parametrize("meta", [3, "text", [1], {"dataset_meta": "text"}, {"dataset_meta": [1]}])
def test_odd_meta_is_an_error(tmp_path: Path, meta: object) -> None:
    with pytest.raises(CheckpointError, match=r"a\.pth: expected dict as meta"):
        load_checkpoint(saved(tmp_path / "a.pth", {"state_dict": {}, "meta": meta}))


HUB = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
RESUMABLE = {"meta": {"epoch": 1, "iter": 2}, "message_hub": HUB, "optimizer": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": None}, "expected dict as optimizer, found NoneType"),
        ({"message_hub": 3}, "expected dict as message_hub, found int"),
        ({"message_hub": {**HUB, "log_scalars": 3}}, "expected dict as message_hub.log_scalars"),
        ({"meta": {"epoch": "1", "iter": 2}}, "expected int as meta.epoch, found str"),
        ({"meta": {"epoch": True, "iter": 2}}, "expected int as meta.epoch, found bool"),
        ({"meta": {"epoch": 1, "iter": -2}}, "expected meta.iter from 0 to"),
        ({"meta": {"epoch": 1, "iter": 2, "seed": 2**40}}, "expected meta.seed from 0 to"),
        ({"meta": {"iter": 2}}, "cannot be resumed: it has no meta.epoch"),
        ({"meta": {}}, "cannot be resumed: it has no meta.epoch, meta.iter"),
    ],
)
def test_a_state_that_cannot_be_resumed_is_named(change: dict[str, object], message: str) -> None:
    check_resumable(RESUMABLE, source="a.pth")
    with pytest.raises(CheckpointError, match=message):
        check_resumable({**RESUMABLE, **change}, source="a.pth")
