"""Damaged annotations and images through the checks, the loader and training steps: `python -m tests.fuzz --help`.

Nothing may raise but the errors that are meant for users, nothing may hang, and what is left out must be counted.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import pickle
import random
import signal
import sys
import tempfile
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import HistoryBuffer
from pycocotools import mask as coco_mask

from solo.checkpoints.source import read_source
from solo.datasets import CocoInstances, UnreadableImageError, read_image
from solo.datasets.coco.annotations import AnnotationReport, read_annotations
from solo.errors import CheckpointError, DataError
from solo.evaluation import CocoMaskMetric
from solo.evaluation.detections import ImageDetections
from solo.evaluation.record import FRAME
from tests.helpers import hostile_pickles as hostile
from tests.helpers.fakes import CLASSES, SIDE, write_data
from tests.helpers.hostile_images import sound_images, with_false_size
from tests.helpers.limits import run_limited
from tests.helpers.tiny_model import build_tiny

SECONDS_EACH = 20
FILES_PER_PROCESS = 50
MAX_PIXELS, IMAGE_MEMORY = 2**22, 2**28
HOSTILE_OPCODES = [
    hostile.call("numpy dtype", hostile.constant("O8")),
    hostile.dtype("f8", 63),
    hostile.array((2,), hostile.dtype("f8", 63), bytes(16)),
    hostile.array((2**20,), hostile.dtype("f4"), None),
    hostile.tensor((2**20,), (1,)),
    hostile.tensor((2**40,), (0,)),
    hostile.call("torch FloatTensor", hostile.constant(10**9)),
    hostile.call("builtins bytes", hostile.constant(10**9)),
    hostile.nested_tuple(100_000),
    hostile.billion_laughs(60),
    *(bytes([code]) for code in (*b"RbsuaetoiQP0123()]}Nl", 0x81, 0x85, 0x86, 0x92, 0x8F, 0x90, 0x91, 0x94)),
    *(bytes([code]) + b"\xff" * 8 for code in (0x8A, 0x8B, 0x8D, 0x8E, 0x95, 0x96, *b"XTBrjM")),
]
OBJECTS_PER_IMAGE = 20
BATCH = 8
SIZES = [(48, 64), (64, 48), (33, 57)]
PIPELINE = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(type="mmdet.Resize", scale=(64, 64), keep_ratio=True),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackSample"),
]
ODD_NUMBERS = [0, -0.0, -1, 1, 0.5, 1e-320, 1e9, -1e9, 1e300, 2**31, 2**63, 10**400]
ODD_VALUES: list[Any] = [
    *ODD_NUMBERS,
    float("nan"),
    float("inf"),
    -float("inf"),
    None,
    True,
    "",
    "7",
    "\x00\udc80",
    [],
    {},
    [[]],
    [[[1, 2]]],
    [1],
    ["a"] * 6,
    {"size": [1]},
    {"a": [{}]},
]


# ------------------------------------------------------------------------------------------------- sound content
def sound_content(count: int, folder: Path, generator: random.Random) -> dict[str, Any]:
    """Content of a COCO file with `count` annotations, and its images."""
    for number, (height, width) in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    images, annotations = [], []
    for image_id in range(1, -(-count // OBJECTS_PER_IMAGE) + 1):
        number = generator.randrange(len(SIZES))
        height, width = SIZES[number]
        images.append(dict(id=image_id, file_name=f"{number}.png", height=height, width=width))
    for annotation_id in range(1, count + 1):
        image = generator.choice(images)
        annotations.append(sound_annotation(annotation_id, image, generator))
    categories = [dict(id=number, name=f"class {number}") for number in (1, 2, 3)]
    return dict(images=images, annotations=annotations, categories=categories)


def sound_annotation(annotation_id: int, image: dict[str, Any], generator: random.Random) -> dict[str, Any]:
    x, y, width, height = (
        generator.randrange(20),
        generator.randrange(20),
        generator.randrange(2, 20),
        generator.randrange(2, 12),
    )
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height + 0.5]
    segmentation: Any = [polygon]
    kind = generator.randrange(3)
    if kind:
        encoded = coco_mask.frPyObjects([polygon], image["height"], image["width"])[0]
        segmentation = dict(size=list(encoded["size"]), counts=encoded["counts"].decode())
    if kind == 2:
        flat = coco_mask.decode(encoded).T.ravel()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
        segmentation["counts"] = np.diff(np.concatenate([[0], edges])).tolist()
    return dict(
        id=annotation_id,
        image_id=image["id"],
        category_id=generator.randrange(1, 4),
        iscrowd=int(generator.random() < 0.1),
        area=width * height,
        bbox=[x, y, width, height],
        segmentation=segmentation,
    )


# ------------------------------------------------------------------------------------------------------- damage
def damage(node: Any, generator: random.Random) -> Any:
    """The node with one place in it changed."""
    if isinstance(node, dict) and node and generator.random() < 0.95:
        key = generator.choice(sorted(node))
        if generator.random() < 0.15:
            return {name: value for name, value in node.items() if name != key}
        return {**node, key: damage(node[key], generator)}
    if isinstance(node, list) and node and generator.random() < 0.8:
        return damaged_list(node, generator)
    if isinstance(node, str) and node and generator.random() < 0.8:
        place = generator.randrange(len(node))
        return node[:place] + chr(generator.randrange(1, 200)) * generator.randrange(3) + node[place + 1 :]
    if isinstance(node, (int, float)) and abs(node) < 1e300 and generator.random() < 0.5:
        return generator.choice([-node, node * 2, node * 1e6, node + 0.5, generator.choice(ODD_NUMBERS)])
    return generator.choice(ODD_VALUES)


def damaged_annotation(annotation: dict[str, Any], generator: random.Random) -> dict[str, Any]:
    """One or two places changed, most of them in mask or box: a wrong id has been met soon."""
    for _ in range(generator.randrange(1, 3)):
        key = generator.choice(["segmentation", "segmentation", "bbox", ""])
        if key in annotation:
            annotation = {**annotation, key: damage(annotation[key], generator)}
        else:
            changed = damage(annotation, generator)
            annotation = changed if isinstance(changed, dict) else {}
    return annotation


def damaged_list(node: list[Any], generator: random.Random) -> list[Any]:
    place = generator.randrange(len(node))
    way = generator.randrange(5)
    if way == 0:
        return node[:place] + node[place + 1 :]
    if way == 1:
        return node[:place] + [node[place]] * generator.randrange(2, 50) + node[place:]
    if way == 2:
        return generator.sample(node, len(node))
    return [*node[:place], damage(node[place], generator), *node[place + 1 :]]


def damaged_bytes(content: bytes, generator: random.Random) -> bytes:
    way = generator.randrange(6)
    place = generator.randrange(len(content))
    if way == 0:
        return content[:place]
    if way == 1:
        return content[:place] + generator.randbytes(generator.randrange(1, 40)) + content[place:]
    if way == 2:
        return content[:place] + content[place + generator.randrange(1, 200) :]
    if way == 3:  # the header, where the sizes are
        place = generator.randrange(min(60, len(content)))
    changed = bytearray(content)
    for offset in range(place, min(place + generator.choice([1, 1, 4, 64]), len(content))):
        changed[offset] = generator.choice([0, 255, generator.randrange(256)])
    return bytes(changed)


# --------------------------------------------------------------------------------------------------------- runs
@contextmanager
def in_time(what: str) -> Iterator[None]:
    """Fails when what is done inside takes too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{what} took more than {SECONDS_EACH} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_EACH)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Trainer:
    """Training steps of a tiny model, each of which must end with finite losses and weights."""

    def __init__(self) -> None:
        self.model = build_tiny().train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        self.steps = 0
        self._waiting: list[Any] = []

    def add(self, sample: Any) -> None:
        self._waiting.append(sample)
        if len(self._waiting) == BATCH:
            self.step()

    def step(self) -> None:
        if not self._waiting:
            return
        batch = self.model.data_preprocessor(pseudo_collate(self._waiting), True)
        self._waiting = []
        losses = self.model(**batch, mode="loss")
        assert all(bool(loss.isfinite()) for loss in losses.values()), losses
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        assert all(bool(parameter.grad.isfinite().all()) for parameter in self.model.parameters())
        self.optimizer.step()
        self.steps += 1


def check_sums(report: AnnotationReport) -> None:
    """Each annotation of the file is used, or counted under what became of it."""
    accounted = report.used + report.crowds + report.left_out + report.other_classes
    assert accounted == report.annotations, report


def fuzz_annotations(count: int, *, seed: int, folder: Path) -> Counter[str]:
    """Damage every annotation of a file; check, load and train on what is left."""
    generator = random.Random(seed)
    content = sound_content(count, folder, generator)
    damaged = []
    for annotation in content["annotations"]:
        damaged.append(damaged_annotation(annotation, generator))
    path = folder / "annotations.json"
    path.write_text(json.dumps({**content, "annotations": damaged}))
    with in_time("the checks"):
        dataset = CocoInstances(ann_file=str(path), data_prefix=dict(img=str(folder)), pipeline=PIPELINE)
    check_sums(dataset.report)
    trainer = Trainer()
    found: Counter[str] = Counter(dataset.report.problems and {k: len(v) for k, v in dataset.report.problems.items()})
    for index in range(len(dataset)):
        with in_time(f"image {index}"):
            sample = dataset[index]
            ordinary = [i for i in dataset.get_data_info(index)["instances"] if not i["ignore_flag"]]
            instances = sample["data_samples"].gt_instances
            assert len(instances) == len(ordinary), f"image {index} lost objects"
            trainer.add(sample)
    trainer.step()
    return found + Counter(annotations=count, used=dataset.report.used, steps=trainer.steps)


def fuzz_files(count: int, *, seed: int, folder: Path) -> Counter[str]:
    """Damage one place of a whole file: it is read, or refused with an error for users."""
    generator = random.Random(seed)
    content = sound_content(4, folder, generator)
    path = folder / "annotations.json"
    found: Counter[str] = Counter(files=count)
    for number in range(count):
        part = generator.choice(["images", "categories", ""])
        if part:
            damaged: Any = {**content, part: damage(content[part], generator)}
        else:
            damaged = damage(content, generator)
        path.write_text(json.dumps(damaged))
        if generator.random() < 0.2:
            path.write_bytes(damaged_bytes(path.read_bytes(), generator))
        with in_time(f"file {number}"):
            try:
                check_sums(read_annotations(path).report)
                found["read"] += 1
            except DataError as error:
                assert str(path) in str(error)
                found["refused"] += 1
    return found


def fuzz_evaluations(count: int, *, seed: int, folder: Path) -> Counter[str]:
    """Damage annotation files and detections: both backends evaluate what is left, to the same AP."""
    generator = random.Random(seed)
    found: Counter[str] = Counter(evaluations=count)
    for number in range(count):
        content = sound_content(30, folder, generator)
        damaged = [
            damaged_annotation(found, generator) if generator.random() < 0.3 else found
            for found in content["annotations"]
        ]
        path = folder / "annotations.json"
        path.write_text(json.dumps({**content, "annotations": damaged}))
        detections = [noisy_detections(image, content["annotations"], generator) for image in content["images"]]
        with in_time(f"evaluation {number}"):
            outcomes = {evaluated(path, detections, backend=name) for name in ("hotcoco", "pycocotools")}
        assert len(outcomes) == 1, f"evaluation {number}: {outcomes}"
        found["without objects" if max(outcomes.pop()) < 0 else "equal"] += 1
    return found


def noisy_detections(
    image: dict[str, Any], annotations: list[dict[str, Any]], generator: random.Random
) -> dict[str, Any]:
    """Detections near the objects of an image: moved, of any class, some empty and some twice."""
    height, width = image["height"], image["width"]
    boxes = [found["bbox"] for found in annotations if found["image_id"] == image["id"]]
    masks = np.zeros((len(boxes), height, width), bool)
    for mask, (x, y, box_width, box_height) in zip(masks, boxes, strict=True):
        left, top = (max(0, int(side) + generator.randrange(-2, 3)) for side in (x, y))
        mask[top : top + int(box_height), left : left + generator.choice([int(box_width), 1, 0])] = True
    fields = dict(
        labels=torch.tensor([generator.randrange(3) for _ in boxes], dtype=torch.int64),
        scores=torch.tensor([generator.choice([0.0, 0.5, 0.5, generator.random(), 1.0]) for _ in boxes]),
        bboxes=torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes], dtype=torch.float32).reshape(-1, 4),
        masks=torch.from_numpy(masks),
    )
    return dict(img_id=image["id"], pred_instances=fields)


def evaluated(path: Path, detections: list[dict[str, Any]], *, backend: str) -> tuple[float, ...]:
    metric = CocoMaskMetric(ann_file=str(path), backend=backend)
    metric.dataset_meta = dict(classes=[f"class {number}" for number in (1, 2, 3)], category_ids=(1, 2, 3))
    for entry in detections:
        metric.process(None, [entry])
    return tuple(metric.evaluate(len(detections)).values())


def fuzz_images(count: int, *, seed: int, folder: Path) -> Counter[str]:
    """Damage every image file: it is trained on, or another one in its place, and that is counted."""
    generator = random.Random(seed)
    sound = sound_images(seed)
    images = []
    for number in range(count):
        suffix, content = generator.choice(sound)
        for _ in range(generator.randrange(1, 3)):
            content = damaged_bytes(content, generator) if content else content
        images.append(dict(id=number + 1, file_name=f"image{number}{suffix}", height=48, width=64))
        (folder / f"image{number}{suffix}").write_bytes(content)
    annotations = [sound_annotation(image["id"], image, generator) | dict(iscrowd=0) for image in images]
    categories = [dict(id=number, name=f"class {number}") for number in (1, 2, 3)]
    path = folder / "annotations.json"
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    dataset = CocoInstances(
        ann_file=str(path), data_prefix=dict(img=str(folder)), pipeline=PIPELINE, max_unreadable=count
    )
    trainer, found = Trainer(), Counter[str]()
    for index in range(count):
        with in_time(f"image {index}"):
            outcome = load(dataset, index, trainer)
        found[outcome] += 1
    trainer.step()
    return found + Counter(images=count, unreadable=dataset.unreadable, steps=trainer.steps)


def load(dataset: CocoInstances, index: int, trainer: Trainer) -> str:
    """What became of an image: used, counted and replaced by another one, or refused by name."""
    path = dataset.get_data_info(index)["img_path"]
    try:
        sample = dataset[index]
    except DataError as error:
        if path in dataset.unreadable_images:  # then the one in its place is refused
            return "replaced"
        assert path in str(error)
        return "refused"
    trainer.add(sample)
    if sample["data_samples"].img_path == path:
        return "used"
    assert path in dataset.unreadable_images, f"{path} is lost"
    return "replaced"


def fuzz_image_sizes(count: int, *, seed: int, folder: Path) -> Counter[str]:
    """False sizes and damage in images of every format: each is read or refused in little memory."""
    generator = random.Random(seed)
    sound = sound_images(seed)
    found: Counter[str] = Counter(images=count)
    for start in range(0, count, FILES_PER_PROCESS):
        paths = []
        for number in range(start, min(start + FILES_PER_PROCESS, count)):
            suffix, content = generator.choice(sound)
            if generator.random() < 0.6:
                content = with_false_size(content, generator)
            for _ in range(generator.randrange(3)):
                content = damaged_bytes(content, generator) or b"x"
            paths.append(folder / f"{number}{suffix}")
            paths[-1].write_bytes(content)
        outcomes = run_limited(lambda paths=paths: "\n".join(map(read_limited_image, paths)), memory=IMAGE_MEMORY)
        assert len(outcomes.splitlines()) == len(paths), f"images from {paths[0]} on: {outcomes}"
        found.update(outcomes.splitlines())
    return found


def read_limited_image(path: Path) -> str:
    """What became of an image: read, too large, or refused as damaged; never for want of memory."""
    try:
        assert read_image(path, max_pixels=MAX_PIXELS).size <= 3 * MAX_PIXELS
    except UnreadableImageError as error:
        message = str(error)
        assert str(path) in message and "\n" not in message and "memory" not in message.lower(), message
        return "too large" if "pixels, more than" in message else "refused"
    return "read"


def fuzz_checkpoints(count: int, *, seed: int, folder: Path) -> Counter[str]:
    """Damage checkpoints of every format: each is read, or refused in one line, within limits of time and memory."""
    generator = random.Random(seed)
    weights = {"a.weight": torch.arange(12.0).reshape(3, 4), "b.bias": torch.ones(2, dtype=torch.float16)}
    sound = sound_checkpoints(weights)
    found: Counter[str] = Counter(checkpoints=count)
    for start in range(0, count, FILES_PER_PROCESS):
        paths = []
        for number in range(start, min(start + FILES_PER_PROCESS, count)):
            suffix, content = generator.choice(sound)
            paths.append(folder / f"{number}{suffix}")
            paths[-1].write_bytes(damaged_checkpoint(content, generator))
        outcomes = run_limited(lambda paths=paths: "\n".join(read_checkpoint(path, weights) for path in paths))
        assert len(outcomes.splitlines()) == len(paths), f"checkpoints from {paths[0]} on: {outcomes}"
        found.update(outcomes.splitlines())
    return found


def sound_checkpoints(weights: dict[str, torch.Tensor]) -> list[tuple[str, bytes]]:
    """Suffix and content of a checkpoint in every format that is read."""
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    whole = {
        "state_dict": OrderedDict(weights),
        "meta": {"epoch": 1, "dataset_meta": {"classes": ("a", "b")}, "cfg": "x = 1"},
        "message_hub": {"log_scalars": {"loss": history}, "runtime_info": {"best": np.float64(1)}},
        "param_schedulers": [{"milestones": Counter([1, 2])}],
    }
    files = []
    for is_zip in (True, False):
        buffer = io.BytesIO()
        torch.save(whole, buffer, _use_new_zipfile_serialization=is_zip)
        files += [(".pth", buffer.getvalue())] * 4
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    files += [(".pdparams", pickle.dumps(arrays, protocol=protocol)) for protocol in range(6)]
    return [*files, (".safetensors", safetensors.torch.save(weights))]


def damaged_checkpoint(content: bytes, generator: random.Random) -> bytes:
    """One or two places changed; in a zip file those of its pickle, so that the check sums hold, or any."""
    if content.startswith(b"PK") and generator.random() < 0.8:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        name = next(name for name in entries if name.endswith("data.pkl"))
        entries[name] = damaged_pickle(entries[name], generator)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, entry in entries.items():
                archive.writestr(name, entry)
        return buffer.getvalue()
    return damaged_pickle(content, generator)


def damaged_pickle(content: bytes, generator: random.Random) -> bytes:
    for _ in range(generator.choice([1, 1, 2])):
        if generator.random() < 0.4:
            place = generator.randrange(len(content) + 1)
            content = content[:place] + generator.choice(HOSTILE_OPCODES) + content[place + generator.randrange(3) :]
        else:
            content = damaged_bytes(content, generator) or b"\x80"
    return content


def read_checkpoint(path: Path, weights: dict[str, torch.Tensor]) -> str:
    """What became of a checkpoint: equal, read with other values, or refused in one line that names it."""
    try:
        read = read_source(path).weights
    except CheckpointError as error:
        message = str(error)
        assert str(path) in message and "\n" not in message and len(message) < 1000, message
        return "refused"
    is_equal = read.keys() == weights.keys() and all(torch.equal(read[name], weights[name]) for name in weights)
    return "equal" if is_equal else "read with other values"


def fuzz_records(count: int, *, seed: int, folder: Path) -> Counter[str]:
    """Damage evaluation records under right check sums: each is evaluated, or refused in one line that names it."""
    draw = random.Random(seed)
    square = np.zeros((1, SIDE, SIDE), bool)
    square[:, 4:20, 4:20] = True
    ann_file = write_data(folder)
    sound = [record_payload(image_id, square) for image_id in range(4)]
    found: Counter[str] = Counter(records=count)
    path = folder / "detections.rank0"
    for start in range(0, count, FILES_PER_PROCESS):
        seeds = [draw.random() for _ in range(start, min(start + FILES_PER_PROCESS, count))]

        def resume_all(seeds: list[float] = seeds) -> str:
            return "\n".join(resume_damaged(sound, path, ann_file, random.Random(each)) for each in seeds)

        outcomes = run_limited(resume_all).splitlines()
        assert len(outcomes) == len(seeds), f"records from {start} on: {outcomes}"
        found.update(outcomes)
    return found


def record_payload(image_id: int, masks: np.ndarray) -> bytes:
    fields = dict(labels=np.array([1]), scores=np.array([0.5]), bboxes=np.array([[4, 4, 20, 20]]), masks=masks)
    return ImageDetections.from_instances(image_id, fields).to_bytes()


def damaged_payload(payload: bytes, draw: random.Random) -> bytes:
    """One place changed: in the json of the header, or any byte."""
    if draw.random() < 0.5:
        header, _, rest = payload.partition(b"\n")
        return json.dumps(damage(json.loads(header), draw)).encode() + b"\n" + rest
    return damaged_bytes(payload, draw)


def resume_damaged(sound: list[bytes], path: Path, ann_file: Path, draw: random.Random) -> str:
    payloads = [damaged_payload(payload, draw) if draw.random() < 0.5 else payload for payload in sound]
    frames = b"".join(FRAME.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads)
    path.write_bytes(b"solo detections 2 fingerprint\n" + frames)
    metric = CocoMaskMetric(ann_file=str(ann_file), backend="pycocotools")  # hotcoco's threads do not survive a fork
    metric.dataset_meta = dict(classes=CLASSES, category_ids=(1, 2))
    try:
        metric.keep_record(path.with_suffix(""), fingerprint="fingerprint", resume=True)
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000, error
        return "refused"
    try:
        return "equal" if metric.evaluate(4)["coco/segm_mAP"] == 1 else "evaluated with other values"
    except DataError as error:
        assert "no image was predicted" in str(error), error
        return "refused at the end"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--evaluations", type=int, default=1_000)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--image-sizes", type=int, default=10_000)
    parser.add_argument("--checkpoints", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    parts: dict[str, Callable[..., Counter[str]]] = dict(
        annotations=fuzz_annotations,
        files=fuzz_files,
        images=fuzz_images,
        image_sizes=fuzz_image_sizes,
        checkpoints=fuzz_checkpoints,
        records=fuzz_records,
        evaluations=fuzz_evaluations,  # last: hotcoco's threads do not survive a fork
    )
    for name, part in parts.items():
        if not getattr(arguments, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = part(getattr(arguments, name), seed=arguments.seed, folder=Path(folder))
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in sorted(found.items())), file=sys.stdout)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
