"""Mask decoders: how outputs become masks, the one step in which SOLOv2, SOLO and Decoupled SOLO differ.

The class of a decoder is looked up by the type of the network's outputs. A head of your own returns outputs of its own
type and enters a decoder for them:

    MASK_DECODERS[MyOutputs] = MyMaskDecoder
"""

from __future__ import annotations

from typing import Any

from solo.models.decoders.base import LevelMaskDecoder, LevelPositives, MaskDecoder
from solo.models.decoders.decoupled_solo import DecoupledSOLOMaskDecoder
from solo.models.decoders.solo import SOLOMaskDecoder
from solo.models.decoders.solov2 import SOLOv2MaskDecoder
from solo.structures import DecoupledSOLOOutputs, SOLOOutputs, SOLOv2Outputs

MASK_DECODERS: dict[type, type[MaskDecoder]] = {
    SOLOv2Outputs: SOLOv2MaskDecoder,
    SOLOOutputs: SOLOMaskDecoder,
    DecoupledSOLOOutputs: DecoupledSOLOMaskDecoder,
}


def build_mask_decoder(outputs: Any) -> MaskDecoder:
    """The decoder of a batch's outputs.

    Raises:
        TypeError: outputs of a type that `MASK_DECODERS` does not have.
    """
    kind = MASK_DECODERS.get(type(outputs))
    if kind is None:
        raise TypeError(
            f"no mask decoder for outputs of type {type(outputs).__name__}: "
            "enter one in solo.models.decoders.MASK_DECODERS"
        )
    return kind(outputs)


__all__ = [
    "MASK_DECODERS",
    "DecoupledSOLOMaskDecoder",
    "LevelMaskDecoder",
    "LevelPositives",
    "MaskDecoder",
    "SOLOMaskDecoder",
    "SOLOv2MaskDecoder",
    "build_mask_decoder",
]
