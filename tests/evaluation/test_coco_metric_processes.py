"""Two processes evaluate as one, however unevenly the images are split, and no full mask travels between them."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from torch import distributed, multiprocessing

from solo.evaluation import CocoMaskMetric
from tests.helpers.evaluation import HEIGHT, META, WIDTH, evaluate, random_scene, write_file

# Images of the two ranks: even with one repeated, as a loader fills up; uneven; all on one side.
SPLITS = [([0, 2], [1, 3, 0]), ([0], [1, 2, 3]), ([], [0, 1, 2, 3]), ([0, 1, 2, 3], [])]


def run_rank(rank: int, port: int, ann_file: str, scene: list[dict[str, Any]], folder: str) -> None:
    os.chdir(folder)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    results = {}
    gathered: list[int] = []
    gather = distributed.gather_object

    def counting(data: bytes, *arguments: Any) -> None:
        gathered.append(len(data))
        gather(data, *arguments)

    distributed.gather_object = counting
    for number, split in enumerate(SPLITS):
        metric = CocoMaskMetric(ann_file=ann_file, results_file=f"results{number}.json")
        metric.dataset_meta = META
        for image in split[rank]:
            metric.process(None, [scene[image]])
        results[number] = metric.evaluate(4)
    Path(f"rank{rank}.json").write_text(json.dumps(dict(results=results, gathered=gathered)))
    distributed.destroy_process_group()


@pytest.mark.long
def test_two_processes_equal_one(tmp_path: Path) -> None:
    annotations, scene = random_scene(3)
    ann_file = write_file(tmp_path, annotations, num_images=4)
    expected = evaluate(ann_file, scene, results_file=str(tmp_path / "single.json"))
    assert 0 < expected["coco/segm_mAP"] < 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "run").mkdir()
    multiprocessing.spawn(run_rank, args=(port, ann_file, scene, str(tmp_path / "run")), nprocs=2)
    for rank in range(2):
        report = json.loads((tmp_path / "run" / f"rank{rank}.json").read_text())
        assert all(result == expected for result in report["results"].values())
        assert len(report["gathered"]) == len(SPLITS)
        detections = sum(len(entry["pred_instances"]["labels"]) for entry in scene)
        assert max(report["gathered"]) < min(500, HEIGHT * WIDTH // 8) * detections
    for number in range(len(SPLITS)):
        assert (tmp_path / "run" / f"results{number}.json").read_text() == (tmp_path / "single.json").read_text()
    assert {path.suffix for path in (tmp_path / "run").iterdir()} == {".json"}, "no shared folder is used"
