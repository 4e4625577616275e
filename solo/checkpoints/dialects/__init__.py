"""Naming schemes of SOLO and SOLOv2 weights of other code bases, as data."""

from solo.checkpoints.dialects.adelaidet import ADELAIDET
from solo.checkpoints.dialects.dialect import Dialect, Preprocessing
from solo.checkpoints.dialects.mmdet import MMDET, WXINLONG
from solo.checkpoints.dialects.paddle import PADDLE, PADDLE_STATIC

# The first of several that explain equally many names applies: mmdetection's rules accept any name of a backbone.
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (PADDLE, PADDLE_STATIC, ADELAIDET, MMDET, WXINLONG)
}

__all__ = ["DIALECTS", "Dialect", "Preprocessing"]
