"""Mask decoders: from outputs to masks, the one step in which SOLOv2, SOLO and Decoupled SOLO differ.

The type of the network's outputs selects the decoder. To use your own head, let it return its own type of outputs and
register a decoder for that type:

    MASK_DECODERS[MyOutputs] = MyMaskDecoder
"""

from __future__ import annotations

from typing import Any

from solo.models.decoders.base import MaskDecoder
from solo.models.decoders.solo import DecoupledSOLOMaskDecoder, LevelMaskDecoder, SOLOMaskDecoder
from solo.models.decoders.solov2 import SOLOv2MaskDecoder
from solo.structures import DecoupledSOLOOutputs, SOLOOutputs, SOLOv2Outputs

MASK_DECODERS: dict[type, type[MaskDecoder]] = {
    SOLOv2Outputs: SOLOv2MaskDecoder,
    SOLOOutputs: SOLOMaskDecoder,
    DecoupledSOLOOutputs: DecoupledSOLOMaskDecoder,
}


def build_mask_decoder(outputs: Any) -> MaskDecoder:
    """Build the decoder of a batch's outputs.

    Raises:
        TypeError: `MASK_DECODERS` has no decoder for outputs of this type.
    """
    kind = MASK_DECODERS.get(type(outputs))
    if kind is None:
        raise TypeError(
            f"no mask decoder for outputs of type {type(outputs).__name__}: "
            "register one in solo.models.decoders.MASK_DECODERS"
        )
    return kind(outputs)


__all__ = [
    "MASK_DECODERS",
    "DecoupledSOLOMaskDecoder",
    "LevelMaskDecoder",
    "MaskDecoder",
    "SOLOMaskDecoder",
    "SOLOv2MaskDecoder",
    "build_mask_decoder",
]
