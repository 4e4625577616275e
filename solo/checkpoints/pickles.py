"""Reading pickles of arrays without running code from them.

detectron2 writes `.pkl`, Paddle `.pdparams`: plain pickles of dicts of numpy arrays. Python's unpickler calls whatever
a file names; this one knows the few functions that rebuild an array and refuses every other name.
"""

from __future__ import annotations

import _codecs
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from solo.errors import CheckpointError

_reconstruct = np.zeros(0).__reduce__()[0]
_scalar = np.float64(0).__reduce__()[0]
_from_buffer = np.zeros(1).__reduce_ex__(5)[0]
# numpy 2 renamed its module; files name the old or the new one.
ALLOWED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    # How protocols 0 to 2 write bytes, and how Paddle wraps a named array.
    ("_codecs", "encode"): _codecs.encode,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (bytes, tuple)},
}


class _ArrayUnpickler(pickle.Unpickler):
    """Finds the names of `ALLOWED` alone."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise _CodeRefusedError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


class _CodeRefusedError(pickle.UnpicklingError):
    """The file names something that is not needed for arrays."""


def read_pickle(path: Path) -> Any:
    """Read a pickle of plain values and numpy arrays.

    Args:
        path: an existing file.

    Raises:
        CheckpointError: the file names anything else (that is not called), or is damaged.
    """
    try:
        with path.open("rb") as file:
            # Python 2 wrote strings that are bytes; latin1 is numpy's own advice for its arrays.
            content = _ArrayUnpickler(file, encoding="latin1").load()
            rest = file.read(1)
    except _CodeRefusedError as error:
        raise CheckpointError(
            f"checkpoint {path} carries code: loading it would call {str(error)!r}, which is refused. "
            "Expected numpy arrays and plain values only"
        ) from None
    except Exception as error:  # damaged bytes may raise anything
        raise CheckpointError(
            f"checkpoint {path} is damaged or not a pickle of arrays ({path.stat().st_size} bytes; "
            f"{type(error).__name__}: {error})"
        ) from error
    if rest:
        raise CheckpointError(f"checkpoint {path} is damaged: bytes follow after the pickle's end")
    return content
