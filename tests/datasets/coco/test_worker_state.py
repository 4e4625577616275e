from __future__ import annotations

import pytest

from solo.datasets.coco.worker_state import UnreadableImages
from solo.errors import DataError


def test_each_image_counts_once() -> None:
    images = UnreadableImages(num_images=5, limit=2)
    assert (len(images), images.indices()) == (0, [])
    assert [images.add(index) for index in (3, 1, 3)] == [True, True, False]
    assert len(images) == 2
    assert images.indices() == [1, 3]
    assert 3 in images and 2 not in images


def test_none_may_be_allowed() -> None:
    assert UnreadableImages(num_images=5, limit=0).limit == 0
    with pytest.raises(DataError, match="at least 0, not -1"):
        UnreadableImages(num_images=5, limit=-1)
