from __future__ import annotations

from solo.evaluation.ap_table import COLUMNS, format_class_table, format_table


def test_a_table_by_hand() -> None:
    """-1 says that there was no object of the size."""
    masks, boxes = [0.25, 0.5, 0.1234, -1.0, 0.0, 1.0], [0.3, 0.6, 0.2, -1.0, 0.1, 0.9]
    metrics = {
        f"coco/{name}_{key}": value
        for name, values in (("segm", masks), ("bbox", boxes))
        for key, value in zip(COLUMNS.values(), values, strict=True)
    }
    assert format_table(metrics, ("segm", "bbox"), prefix="coco/").splitlines() == [
        "            AP      50      75       S       M       L",
        "mask     0.250   0.500   0.123       -   0.000   1.000",
        "box      0.300   0.600   0.200       -   0.100   0.900",
    ]


def test_the_first_column_holds_the_longest_name() -> None:
    metrics = {f"{name}_{key}": 0.5 for name in ("segm", "boundary") for key in COLUMNS.values()}
    assert format_table(metrics, ("segm", "boundary")).splitlines() == [
        "              AP      50      75       S       M       L",
        "mask       0.500   0.500   0.500   0.500   0.500   0.500",
        "boundary   0.500   0.500   0.500   0.500   0.500   0.500",
    ]
    assert format_class_table({"segm": [0.5], "boundary": [0.25]}, ("cat",)).splitlines() == [
        "       mask  boundary",
        "cat   0.500     0.250",
    ]


def test_a_table_of_classes_by_hand() -> None:
    per_class = {"segm": [0.5, -1.0], "bbox": [0.25, 0.125]}
    assert format_class_table(per_class, ("cat", "giraffe")).splitlines() == [
        "           mask     box",
        "cat       0.500   0.250",
        "giraffe       -   0.125",
    ]
