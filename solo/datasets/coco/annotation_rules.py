"""How the fields of one annotation are read, and which values make the annotation unusable."""

from __future__ import annotations

import ast
import math
from typing import Any

from solo.masks.segmentations import MALFORMED

NO_SEGMENTATION = "without segmentation"
UNKNOWN_CATEGORY = "unknown category id"
UNKNOWN_IMAGE = "unknown image id"
MALFORMED_BOX = "box is not [x, y, width, height]"
MALFORMED_CROWD_FLAG = "iscrowd is neither 0 nor 1"

REPEATED_ID = "id of an earlier annotation"
UNREADABLE_AREA = "area recomputed from the mask"
COUNTS_AS_BYTES = "counts of the RLE written as b'...'"

_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
_JSON_NAMES = {"str": "text", "bool": "true or false", "NoneType": "null", "dict": "object", "float": "number"}


class UnusableAnnotationError(ValueError):
    """An annotation cannot be used; `kind` says why."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def is_id(value: Any) -> bool:
    """Whether a value can be an id: a number or a text."""
    return isinstance(value, (int, float, str))


def read_crowd_flag(value: Any) -> bool:
    """Read `iscrowd`: 0 or 1, null, a boolean, or one of these as a text or in a list.

    Raises:
        UnusableAnnotationError: It is anything else.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    flag = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None
    if flag is not None:
        return flag
    number = read_number(value)
    if number not in (0.0, 1.0):
        raise UnusableAnnotationError(MALFORMED_CROWD_FLAG)
    return bool(number)


def read_number(value: Any) -> float | None:
    """A finite number, which may be a text or the only entry of a list or an object; None for anything else."""
    while isinstance(value, (list, dict)) and len(value) == 1:
        (value,) = value.values() if isinstance(value, dict) else value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_area(value: Any) -> float:
    """The area in pixels; NaN where it is no number >= 0."""
    number = value if type(value) is float else read_number(value)
    return number if number is not None and 0 <= number < math.inf else math.nan


def read_box(value: Any) -> list[float]:
    """Read `bbox`: x, y, width, height in pixels, not all finite perhaps.

    Raises:
        UnusableAnnotationError: It is not four numbers.
    """
    try:
        box = list(map(float, value)) if isinstance(value, list) else []
    except (TypeError, ValueError, OverflowError):
        box = []
    if len(box) != 4:
        raise UnusableAnnotationError(MALFORMED_BOX)
    return box


def read_rle(segmentation: Any) -> tuple[dict[str, Any], bool]:
    """Read a segmentation that is not polygons.

    Returns:
        The RLE, its counts not yet checked, and whether they were the text of Python's bytes, b'...'.

    Raises:
        UnusableAnnotationError: It is no RLE.
    """
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("size"), list):
        raise UnusableAnnotationError(f"{MALFORMED} (found: {_describe(segmentation)})")
    counts = segmentation.get("counts")
    is_repr = isinstance(counts, str) and counts[:2] in ("b'", 'b"') and counts[-1:] == counts[1]
    return {**segmentation, "counts": _text_of_bytes(counts)} if is_repr else segmentation, is_repr


def _text_of_bytes(text: Any) -> str:
    """What the text of Python's bytes, b'...', holds."""
    try:
        value = ast.literal_eval(text)
        return value.decode("ascii") if isinstance(value, bytes) else text
    except (ValueError, SyntaxError, MemoryError):
        return str(text)


def _describe(segmentation: Any) -> str:
    """What a JSON value is made of, such as `lists nested 3 deep, of number`."""
    depth, level, leaves = 0, [segmentation], set()
    while level:
        leaves |= {_JSON_NAMES.get(type(value).__name__, "number") for value in level if not isinstance(value, list)}
        lists = [value for value in level if isinstance(value, list)]
        level = [entry for values in lists for entry in values]
        depth += bool(lists)
    found = ", ".join(sorted(leaves))
    return f"lists nested {depth} deep, of {found}" if depth else found
