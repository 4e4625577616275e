"""Records of detections: what a crash leaves is noticed, another evaluation is refused, memory stays flat."""

from __future__ import annotations

import dataclasses
import os
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solo.errors import DataError, OutputError
from solo.evaluation import CocoMaskMetric, record
from solo.evaluation.detections import ImageDetections
from solo.evaluation.record import DetectionRecord, read_frames
from tests.helpers.evaluation import META, annotation, generated_image, prediction, rectangle, write_file
from tests.helpers.limits import run_limited
from tests.helpers.odd_files import make_endless


def named(folder: Path, *, resume: bool, fingerprint: str = "a1b2") -> DetectionRecord:
    return DetectionRecord.named(folder / "work" / "detections", fingerprint=fingerprint, num_classes=80, resume=resume)


def ids(detections: DetectionRecord) -> list[object]:
    return [image.image_id for image in read_frames(detections.frames())]


def assert_same(one: ImageDetections, other: ImageDetections) -> None:
    assert (one.image_id, one.size, one.counts) == (other.image_id, other.size, other.counts)
    for name in ("labels", "scores", "boxes", "areas"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("image_id", [7, "übung 3"])
def test_images_come_back_as_they_were(image_id: object, count: int) -> None:
    image = generated_image(1, count=count)
    image = ImageDetections(image_id, image.labels, image.scores, image.boxes, image.areas, image.size, image.counts)
    kept = DetectionRecord.temporary()
    kept.append([image, image])
    kept.append([])
    read = list(read_frames(kept.frames()))
    assert len(read) == 2
    assert_same(read[0], image)
    assert_same(read[1], image)


def test_resumed_record_is_appended_to_and_a_new_one_is_empty(tmp_path: Path) -> None:
    named(tmp_path, resume=False).append([generated_image(1, count=3)])
    resumed = named(tmp_path, resume=True)
    resumed.append([generated_image(2, count=3)])
    assert ids(resumed) == [1, 2]
    assert_same(list(read_frames(resumed.frames()))[1], generated_image(2, count=3))
    assert ids(named(tmp_path, resume=False)) == []


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert ids(named(tmp_path, resume=True)) == []


def test_any_torn_end_is_dropped(tmp_path: Path) -> None:
    """Cut after each byte: what is whole is kept, and the next image follows it."""
    whole = named(tmp_path, resume=False)
    whole.append([generated_image(0, count=0)])
    path = tmp_path / "work" / "detections.rank0"
    one_image = path.stat().st_size
    whole.append([generated_image(1, count=1)])
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        cut = named(tmp_path, resume=True)
        assert ids(cut) == ([0] if size >= one_image else [])
        cut.append([generated_image(2, count=1)])
        assert ids(named(tmp_path, resume=True))[-1] == 2


def test_a_flipped_bit_ends_the_record(tmp_path: Path) -> None:
    named(tmp_path, resume=False).append([generated_image(image_id, count=1) for image_id in range(3)])
    path = tmp_path / "work" / "detections.rank0"
    content = bytearray(path.read_bytes())
    content[content.index(b'"image_id": 1') + 12] ^= 1
    path.write_bytes(content)
    assert ids(named(tmp_path, resume=True)) == [0]


def test_damage_at_the_end_of_an_evaluation_is_an_error() -> None:
    kept = DetectionRecord.temporary()
    kept.append([generated_image(1, count=1)])
    with pytest.raises(DataError, match="damaged"):
        list(read_frames(kept.frames()[:-1]))


def test_another_evaluation_is_refused(tmp_path: Path) -> None:
    named(tmp_path, resume=False).append([generated_image(1, count=1)])
    with pytest.raises(DataError, match=r"detections\.rank0: cannot resume: .*checkpoint, config, annotation file"):
        named(tmp_path, resume=True, fingerprint="another")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "detections.rank0").write_text("no record of ours")
    with pytest.raises(DataError, match=r"detections\.rank0: cannot resume"):
        named(tmp_path, resume=True)


def test_each_rank_has_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in range(2):
        monkeypatch.setattr(record, "get_rank", lambda rank=rank: rank)
        named(tmp_path, resume=False).append([generated_image(rank, count=1)])
        assert ids(named(tmp_path, resume=True)) == [rank]
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"detections.rank0", "detections.rank1"}


def test_two_evaluations_at_once_do_not_mix(tmp_path: Path) -> None:
    first = named(tmp_path, resume=False)
    first.append([generated_image(1, count=1)])
    second = named(tmp_path, resume=False)
    first.append([generated_image(2, count=1)])
    second.append([generated_image(3, count=1)])
    assert (ids(first), ids(second)) == ([1, 2], [3])


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """5,000 images of 480x640 with twenty detections each, of which a list would keep some 17 MB."""
    masks = [rectangle(10 + shift, 20, 40, 30) for shift in range(20)]
    entries = [annotation(masks[0], image_id=10, category_id=3)]
    metric = CocoMaskMetric(ann_file=write_file(tmp_path, entries, num_images=5000))
    metric.dataset_meta = META
    metric.load_annotations()
    metric.keep_record(tmp_path / "detections", fingerprint="", resume=False)
    sample = prediction(0, masks, [0] * 20, [0.5] * 20)
    sample["pred_instances"]["masks"] = generated_image(0, count=20).encodings()
    sizes = []
    tracemalloc.start()
    try:
        for image_id in range(10, 5010):
            metric.process(None, [{**sample, "img_id": image_id}])
            if image_id % 500 == 9:
                sizes.append(tracemalloc.get_traced_memory()[0])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "detections.rank0").stat().st_size > 15e6
    assert len(sizes) == 10
    assert abs(sizes[-1] - sizes[0]) < 10_000
    assert peak - sizes[0] < 1_000_000
    assert metric.evaluate(5000)["coco/segm_mAP"] == 0.0


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no line",
        b"{}\n",
        b"\xff\xfe\n",
        b"[" * 4000 + b"\n",
        b"[" * 100_000 + b"\n",
        b'{"image_id": 1, "size": [], "count": 100000000000000000000}\n',
        b'{"image_id": 1, "size": [], "count": -1}\n',
        b'{"image_id": 1, "size": [], "count": 3}\nshort',
        b'{"image_id": [1], "size": [], "count": 0}\n',
        b'{"image_id": {"a": 1}, "size": [2, 2], "count": 0}\n',
        b'{"image_id": 1, "size": "22", "count": 0}\n',
        b'{"image_id": 1, "size": [true, 2], "count": 0}\n',
        b'{"image_id": 1, "size": [4, 4, 4], "count": 0}\n',
        b'{"image_id": 1, "size": [], "count": 0}\nmore',
    ],
)
def test_wrong_content_under_a_right_checksum_is_an_error(tmp_path: Path, payload: bytes) -> None:
    named(tmp_path, resume=False)
    with (tmp_path / "work" / "detections.rank0").open("ab") as file:
        file.write(record.FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
    with pytest.raises(DataError, match=r"detections\.rank0: cannot resume: the detections of image 1 are damaged: "):
        named(tmp_path, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        dict(labels=np.array([80], np.int32)),
        dict(labels=np.array([-1], np.int32)),
        dict(scores=np.array([np.nan], np.float32)),
        dict(boxes=np.full((1, 4), np.inf, np.float32)),
        dict(areas=np.array([1.0])),
        dict(size=[10**6, 10**6]),
        dict(size=[0, 0]),
        dict(size=[120, 161]),
        dict(size=[]),
        dict(counts=b"not an RLE"),
        dict(counts=b"1\n1"),
        dict(counts=b""),
        dict(counts=b"\xff"),
        dict(counts=b"ooooooooooooooo0"),
    ],
)
def test_wrong_values_under_a_right_checksum_are_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    named(tmp_path, resume=False).append([dataclasses.replace(generated_image(1, count=1), **change)])
    with pytest.raises(DataError, match=r"detections\.rank0: cannot resume: the detections of image 1 are damaged: "):
        named(tmp_path, resume=True)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_only_regular_files_are_resumed(tmp_path: Path, kind: str) -> None:
    (tmp_path / "work").mkdir()
    path = make_endless(tmp_path / "work" / "detections.rank0", kind)
    outcome = run_limited(lambda: str(named(tmp_path, resume=True)), seconds=5)
    assert outcome == f"DataError: evaluation record {path} is not a regular file"


def test_a_file_that_no_evaluation_wrote_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "work" / "detections.rank0"
    path.parent.mkdir()
    path.write_text("solo detective stories")
    with pytest.raises(OutputError, match=r"detections\.rank0 is no evaluation record"):
        named(tmp_path, resume=False)
    assert path.read_text() == "solo detective stories"


def test_a_record_that_cannot_be_written_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "work").touch()
    with pytest.raises(OutputError, match=r"detections\.rank0 cannot be written: "):
        named(tmp_path, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_unfinished_files_of_others_are_left_alone_until_they_are_stale(tmp_path: Path) -> None:
    """Under one fixed temporary name, a second evaluation would write into the file of the first."""
    opened: list[str] = []
    plain_open = Path.open

    def spy(path: Path, *args: Any, **kwargs: Any) -> Any:
        opened.extend([path.name] * (path.suffix == ".tmp"))
        return plain_open(path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", spy)
        for _ in range(2):
            named(tmp_path, resume=False)
    assert len(set(opened)) == 2
    young, old = (tmp_path / "work" / f".detections.rank0.{name}.tmp" for name in ("young", "old"))
    for path in (young, old):
        path.touch()
    os.utime(old, (0, 0))
    named(tmp_path, resume=False)
    assert (young.exists(), old.exists()) == (True, False)
