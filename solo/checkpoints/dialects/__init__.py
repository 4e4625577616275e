"""The dialects of SOLOv2 weights, as data."""

from solo.checkpoints.dialects.adelaidet import ADELAIDET
from solo.checkpoints.dialects.dialect import Dialect, Preprocessing
from solo.checkpoints.dialects.mmdet import MMDET
from solo.checkpoints.dialects.paddle import PADDLE
from solo.checkpoints.dialects.paddle_static import PADDLE_STATIC
from solo.checkpoints.dialects.wxinlong import WXINLONG

# Of two that explain as many names the first is taken: mmdetection's rules let any name of a backbone pass.
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (PADDLE, PADDLE_STATIC, ADELAIDET, MMDET, WXINLONG)
}

__all__ = ["DIALECTS", "Dialect", "Preprocessing"]
