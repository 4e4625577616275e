"""Names and conventions of SOLO and SOLOv2 weights of one code base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from solo.checkpoints.key_map import KeyMap, Rule, Vocabulary


class Preprocessing(NamedTuple):
    """Normalisation of the images that weights were trained on.

    Attributes:
        channel_order: "RGB" or "BGR".
        mean: per channel in that order, in units of 0 to 255.
        std: per channel, in the same units.
    """

    channel_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Preprocessing("RGB", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
CAFFE = Preprocessing("BGR", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True, eq=False)
class Dialect:
    """Names and conventions of one code base.

    Attributes:
        name: value of `--source`.
        title: name of the code base in messages.
        rules: pairs of its names and ours; the first rule that matches a name applies.
        vocabulary: words that the fields of the rules stand for.
        dropped: reason by shell pattern of names, for content of its files that is not part of the model.
        preprocessing: normalisation that its models expect.
        backbone_style: stride of a bottleneck: "pytorch" in the 3x3, "caffe" in the first 1x1 convolution.
        counts_batches: whether its files record `num_batches_tracked`.
    """

    name: str
    title: str
    rules: tuple[Rule, ...]
    vocabulary: Vocabulary
    dropped: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Preprocessing = IMAGENET
    backbone_style: str = "pytorch"
    counts_batches: bool = True

    @cached_property
    def key_map(self) -> KeyMap:
        """Conversion of its names."""
        return KeyMap(self.rules, self.vocabulary)
