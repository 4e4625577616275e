"""Fine-tuning with other classes: rows follow the names."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from solo.checkpoints.class_rows import move_class_rows
from solo.errors import CheckpointError
from tests.helpers.tiny_model import build_tiny

NAMES = ("head.category_predictor.weight", "head.category_predictor.bias")


def checkpoint(classes: tuple[str, ...] | None, *, rows: int = 3) -> dict[str, Any]:
    """A checkpoint whose class predictor holds the number of each row."""
    state = dict(build_tiny().state_dict())
    for name in NAMES:
        shape = (rows, *state[name].shape[1:])
        state[name] = torch.arange(rows, dtype=torch.float32).reshape(-1, *[1] * (len(shape) - 1)).expand(shape).clone()
    return dict(state_dict=state, meta=dict(dataset_meta=dict(classes=classes) if classes else {}))


def row_values(saved: dict[str, Any], name: str) -> list[float]:
    return [row.flatten()[0].item() for row in saved["state_dict"][name]]


def test_rows_follow_their_names() -> None:
    """Of cat, dog, fish the data has fish and cat, and a bird: rows 2, 0 and a new one; dog is dropped."""
    saved, expected = checkpoint(("cat", "dog", "fish")), dict(build_tiny(seed=1).state_dict())
    tower = saved["state_dict"]["head.category_tower.0.conv.weight"].clone()
    rows = move_class_rows(saved, expected, ("fish", "bird", "cat"), source="x.pth")
    assert rows is not None and str(rows) == "2 kept (fish, cat), 1 new (bird), 1 dropped (dog)"
    for name in NAMES:
        moved = row_values(saved, name)
        assert (moved[0], moved[2]) == (2, 0)
        assert torch.equal(saved["state_dict"][name][1], expected[name][1])
    assert torch.equal(saved["state_dict"]["head.category_tower.0.conv.weight"], tower)


def test_another_number_of_classes() -> None:
    expected = dict(build_tiny().state_dict())
    saved = checkpoint(("a", "b", "c", "d", "e"), rows=5)
    rows = move_class_rows(saved, expected, ("e", "x", "a"), source="x.pth")
    assert rows is not None and (rows.kept, rows.new, rows.dropped) == (("e", "a"), ("x",), ("b", "c", "d"))
    assert [row_values(saved, NAMES[0])[i] for i in (0, 2)] == [4, 0]
    assert saved["state_dict"][NAMES[0]].shape == expected[NAMES[0]].shape


@pytest.mark.parametrize("classes", [("cat", "dog", "fish"), None])
def test_equal_or_unknown_classes_leave_the_weights_alone(classes: tuple[str, ...] | None) -> None:
    saved = checkpoint(classes)
    assert move_class_rows(saved, build_tiny().state_dict(), ("cat", "dog", "fish"), source="x.pth") is None
    assert row_values(saved, NAMES[0]) == [0, 1, 2]


def test_a_list_of_another_length_is_an_error() -> None:
    with pytest.raises(
        CheckpointError, match=r"^x\.pth: it names 2 classes, but head\.category_predictor\.\w+ has 3 rows$"
    ):
        move_class_rows(checkpoint(("cat", "dog")), build_tiny().state_dict(), ("cat",), source="x.pth")


def test_a_predictor_of_another_width_is_left_alone() -> None:
    saved = checkpoint(("cat", "dog", "fish"))
    saved["state_dict"][NAMES[0]] = torch.zeros(3, 7, 3, 3)
    move_class_rows(saved, build_tiny().state_dict(), ("dog", "cat", "bird"), source="x.pth")
    assert saved["state_dict"][NAMES[0]].shape == (3, 7, 3, 3)
