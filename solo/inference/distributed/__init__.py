"""Many images on many machines: `solo predict --ray`, and its results."""

from solo.inference.distributed.shards import PredictedImage, read_shards, write_coco

__all__ = ["PredictedImage", "read_shards", "write_coco"]
