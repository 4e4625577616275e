"""Annotations are kept once, however many workers read them."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from solo.datasets import CocoInstances
from solo.engine.data_loader import TimedDataLoader
from tests.helpers.coco_files import annotation

WORKERS = 4
IMAGES, OBJECTS_EACH = 1500, 20


def proportional_kilobytes(process: int) -> tuple[int, int]:
    """(memory of a process with what it shares divided by the number of sharers, what it alone has), in KiB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name.rstrip(":"): int(size) for name, size, *_ in map(str.split, lines)}
    return sizes["Pss"], sizes["Private_Dirty"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what processes share")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_workers_share_the_annotations(tmp_path: Path) -> None:
    """Each worker reads every annotation; what it has for itself afterwards is less than a tenth of them."""
    polygon = [float(number % 17) + 0.123 for number in range(120)]
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", height=16, width=24) for i in range(IMAGES)],
        annotations=[annotation(i, image_id=i % IMAGES, segmentation=[polygon]) for i in range(IMAGES * OBJECTS_EACH)],
        categories=[dict(id=1, name="cat")],
    )
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    (tmp_path / "0.png").touch()
    dataset = CocoInstances(data_root=str(tmp_path), ann_file=path.name, pipeline=[count_objects])
    size = (dataset.data_bytes.nbytes + dataset.data_address.nbytes) / 1024
    assert 1 < size * 1024 / (IMAGES * OBJECTS_EACH * len(polygon) * 8) < 1.1
    assert dataset.data_list == []
    loader = TimedDataLoader.from_loader(
        DataLoader(dataset, batch_size=10, num_workers=WORKERS, persistent_workers=True, collate_fn=list)
    )
    batches = iter(loader)
    first = [next(batches) for _ in range(WORKERS)]  # one of each worker, which by then has started
    workers = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    before = [proportional_kilobytes(worker)[1] for worker in workers]
    total = sum(sum(batch) for batch in [*first, *batches])
    after = [proportional_kilobytes(worker)[1] for worker in workers]
    assert len(workers) == WORKERS
    assert total == IMAGES * OBJECTS_EACH
    assert max(one - other for one, other in zip(after, before, strict=True)) < size / 10


def count_objects(info: dict[str, list[object]]) -> int:
    return len(info["instances"])
