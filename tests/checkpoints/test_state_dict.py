"""Every tensor of a conversion is accounted for, and nothing damaged passes silently."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.fitting import model_on_meta
from solo.checkpoints.state_dict import (
    BATCH_COUNTER,
    ConversionReport,
    convert_from_ours,
    convert_to_ours,
    find_dialect,
)
from solo.config import load_config
from solo.errors import CheckpointError
from tests.helpers.paths import CONFIGS

NANO = CONFIGS / "shapes" / "solov2-nano_shapes.py"
CATEGORY = "head.category_predictor.weight"


@functools.cache
def nano() -> dict[str, Tensor]:
    """Our weights of the smallest model, each tensor different."""
    shapes = model_on_meta(load_config(NANO)).state_dict()
    return {
        name: torch.full(tensor.shape, float(index)).to(tensor.dtype) * (not name.endswith(BATCH_COUNTER))
        for index, (name, tensor) in enumerate(shapes.items())
    }


@functools.cache
def written(dialect: str) -> dict[str, Tensor]:
    return convert_from_ours(nano(), dialect=DIALECTS[dialect])[0]


def read(weights: dict[str, Tensor], dialect: str, *allow_missing: str) -> tuple[dict[str, Tensor], ConversionReport]:
    return convert_to_ours(weights, nano(), dialect=DIALECTS[dialect], allow_missing=allow_missing)


dialects = st.sampled_from(sorted(DIALECTS))


@given(dialect=dialects, data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_tensors_does_not_matter(dialect: str, data: st.DataObject) -> None:
    names = data.draw(st.permutations(list(written(dialect))))
    weights, report = read({name: written(dialect)[name] for name in names}, dialect)
    assert report.complete
    assert list(weights) == list(nano())
    assert all(torch.equal(weights[name], tensor) for name, tensor in nano().items())


@given(dialect=dialects, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_missing_tensor_is_told(dialect: str, data: st.DataObject) -> None:
    weights = dict(written(dialect))
    candidates = [name for name in weights if not name.endswith(BATCH_COUNTER)]
    for name in data.draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=5, unique=True)):
        del weights[name]
    report = read(weights, dialect)[1]
    assert not report.complete
    assert len(report.missing) == len(written(dialect)) - len(weights)


@given(dialect=dialects, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_renamed_tensor_is_told(dialect: str, data: st.DataObject) -> None:
    weights = dict(written(dialect))
    old = data.draw(st.sampled_from([name for name in weights if not name.endswith(BATCH_COUNTER)]))
    position = data.draw(st.integers(0, len(old)))
    new = old[:position] + data.draw(st.sampled_from(["x", "0", ".", "_", "weight"])) + old[position + 1 :]
    if new == old or new in weights:
        return
    weights[new] = weights.pop(old)
    report = read(weights, dialect)[1]
    # A second name of the same tensor is the same tensor; any other leaves a gap.
    same = DIALECTS[dialect].to_ours([old, *weights])
    assert report.complete == (same[new] == same[old])


@given(dialect=dialects, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_tensor_of_another_form_is_told(dialect: str, data: st.DataObject) -> None:
    weights = dict(written(dialect))
    name = data.draw(st.sampled_from([name for name in weights if not name.endswith(BATCH_COUNTER)]))
    tensor = weights[name]
    others = [tensor.flatten()[:-1], tensor[None], tensor.long(), torch.cat([tensor, tensor]), tensor[:0]]
    if tensor.ndim > 1 and tensor.shape[0] != tensor.shape[1]:
        others.append(tensor.transpose(0, 1))
    weights[name] = others[data.draw(st.integers(0, len(others) - 1))]
    report = read(weights, dialect)[1]
    assert not report.complete
    assert name in report.unexplained
    assert len(report.missing) == 1


@given(dialect=dialects, data=st.data())
@settings(max_examples=40, deadline=None)
def test_exchanged_tensors_of_different_shapes_are_told(dialect: str, data: st.DataObject) -> None:
    weights = dict(written(dialect))
    one, other = data.draw(st.lists(st.sampled_from(sorted(weights)), min_size=2, max_size=2, unique=True))
    if weights[one].shape == weights[other].shape:
        return
    weights[one], weights[other] = weights[other], weights[one]
    assert not read(weights, dialect)[1].complete


def test_a_tensor_that_is_there_twice_is_dropped_if_equal() -> None:
    weights = dict(written("paddle"))
    first, second = "solov2_head.bbox_head.solo_cate.weight", "solov2_head.solo_cate.weight"
    weights[second] = weights[first].clone()
    report = read(weights, "paddle")[1]
    assert report.complete
    assert report.dropped == {second: "in the file a second time, with equal values"}
    weights[second] = weights[first] + 1
    report = read(weights, "paddle")[1]
    assert report.unexplained == {second: f"its values differ from those of {first}, which is {CATEGORY} too"}


def test_what_a_model_does_not_need_is_dropped_with_the_reason() -> None:
    weights = {**written("mmdet"), "backbone.fc.weight": torch.zeros(1000, 128), "ema_backbone_conv1": torch.zeros(2)}
    report = read(weights, "mmdet")[1]
    assert report.complete
    assert set(report.dropped) == {"backbone.fc.weight", "ema_backbone_conv1"}


def test_counts_of_a_normalisation_that_the_model_has_not_are_dropped() -> None:
    weights = {**written("mmdet"), "neck.lateral_convs.0.bn.num_batches_tracked": torch.tensor(7)}
    report = read(weights, "mmdet")[1]
    assert report.complete
    assert list(report.dropped) == ["neck.lateral_convs.0.bn.num_batches_tracked"]


def test_half_precision_becomes_the_models_type() -> None:
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in written("mmdet").items()
    }
    converted, report = read(weights, "mmdet")
    assert report.complete
    assert {tensor.dtype for tensor in converted.values()} == {torch.float32, torch.int64}
    assert any("float16" in note for note in report.notes)


def test_allow_missing_takes_names_of_the_source_and_of_the_model() -> None:
    weights = dict(written("mmdet"))
    weights["mask_head.conv_cls.weight"] = torch.zeros(80, 64, 3, 3)
    weights["stranger"] = torch.zeros(1)
    report = read(weights, "mmdet")[1]
    assert set(report.unexplained) == {"mask_head.conv_cls.weight", "stranger"}
    assert list(report.missing) == [CATEGORY]
    converted, report = read(weights, "mmdet", "head.category_predictor.*", "strang*")
    assert report.complete
    assert CATEGORY not in converted
    assert set(report.allowed) == {"mask_head.conv_cls.weight", "stranger", CATEGORY}
    assert any("matches nothing" in note for note in read(weights, "mmdet", "nothing.*")[1].notes)


def test_problems_are_counted_and_named() -> None:
    report = read({}, "mmdet")[1]
    (line,) = report.problems()
    count = sum(not name.endswith(BATCH_COUNTER) for name in nano())
    assert line.startswith(f"{count} of the model missing: backbone.conv1.weight (16, 3, 7, 7), ")
    assert line.endswith(f"({count - 5} more)")


def test_names_that_no_dialect_knows() -> None:
    with pytest.raises(CheckpointError, match="no known dialect"):
        find_dialect(["encoder.weight", "encoder.bias", "backbone.conv1.weight"])
    with pytest.raises(CheckpointError, match="those of solo already"):
        find_dialect(list(nano()))


def test_a_part_that_a_dialect_has_no_name_for_is_told() -> None:
    weights = {**nano(), "backbone.stem.0.weight": torch.zeros(1)}
    report = convert_from_ours(weights, dialect=DIALECTS["adelaidet"])[1]
    assert report.unexplained == {"backbone.stem.0.weight": "AdelaiDet has no name for it"}
