"""Predict many images on a Ray cluster; what is left of a run that was killed is done by the next one.

Ray Data deals shards of images to actors. An actor holds the predictor and writes each shard whole: a shard that is
dealt again, since its actor died, has the same name, so no image is there twice. Ray Data's own checkpoints are written
after the files of a step, which leaves a moment in which a kill doubles images.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo.checkpoints.source import file_sha256
from solo.errors import CheckpointError, DataError, UserError, missing_file_message, printable
from solo.inference.distributed.cluster import RayOptions, connected, find_room
from solo.inference.distributed.locations import ImageLocation, read_location
from solo.inference.distributed.shards import PredictedImage, ShardFolder, import_from_extra, shard_name

OpenModel = Callable[[str], tuple[Any, Sequence[Path | str]]]
"""Opens a `SOLOPredictor` on a device, "auto", "cpu", "cuda", ...; also gives the files that it was read from."""

_ATTEMPTS = 4  # at a shard: Ray Data would try for ever, but one of its images may be what kills each actor
_READERS = 4  # threads of an actor that read or download images


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an actor does with each image; `model` is the digest of the files that it has to open."""

    open_model: OpenModel
    device: str
    model: str
    folder: str
    score_thr: float
    batch_size: int


@dataclass
class Summary:
    """Counts of images: of the whole folder, those that earlier runs did, and what could not be predicted and why."""

    images: int
    earlier: int
    unreadable: list[str]
    objects: int = 0
    seconds: float = 0.0


def model_digest(files: Sequence[Path | str]) -> str:
    """A sha256 of the contents of files, in their order.

    Raises:
        CheckpointError: one cannot be read.
    """
    sums = []
    for file in files:
        try:
            sums.append(file_sha256(file))
        except OSError as error:
            if not os.path.isfile(file):
                raise CheckpointError(missing_file_message(file, kind="model file")) from None
            raise CheckpointError(f"model file {file} cannot be read: {error.strerror}") from None
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()


def predict_on_ray(
    locations: Sequence[ImageLocation],
    *,
    work: Work,
    options: RayOptions,
    shard_size: int,
    manifest: dict[str, Any],
    on_images: Callable[[int], None] = lambda done: None,
) -> Summary:
    """Predict the images that the folder of the shards does not hold yet.

    Args:
        locations: all images of the run.
        work: what is done with each.
        options: where.
        shard_size: images of a shard.
        manifest: what the runs of a folder have in common.
        on_images: called with the number of images that are in the folder.

    Raises:
        ConfigError: Ray is not installed or not reached, or has no room for an actor.
        OutputError: the folder belongs to another run, or cannot be written.
        UserError: an actor cannot go on.
    """
    start = time.perf_counter()
    folder = ShardFolder(work.folder)
    folder.check(manifest)
    done = folder.read_errors()
    earlier = sum(location.name in done for location in locations)
    objects, so_far = 0, earlier
    if shards := _shards(locations, size=shard_size, done=done):
        with connected(options, num_shards=len(shards)) as ray:
            folder.claim(manifest)
            for result in _run(ray, shards, work=work, options=options):
                objects += result["objects"]
                so_far += result["images"]
                on_images(so_far)
    folder.remove_unfinished()
    done = folder.read_errors()
    if lost := [location.name for location in locations if location.name not in done]:
        raise UserError(f"{folder}: {len(lost)} images are in no shard, such as {printable(lost[0])}: run it again")
    unreadable = [error for location in locations if (error := done[location.name]) is not None]
    seconds = time.perf_counter() - start
    return Summary(len(locations) - len(unreadable), earlier, unreadable, objects=objects, seconds=seconds)


class ShardPredictor:
    """An actor: predicts shards of images and writes them. Ray Data calls it with one shard after the other."""

    def __init__(self, work: Work) -> None:
        """Open the model; what is wrong with it is reported by the first call, since Ray would try for ever."""
        self._work = work
        self._problem = ""
        self._folder = ShardFolder(work.folder)
        self._readers = ThreadPoolExecutor(_READERS)
        try:
            self._predictor, files = work.open_model(work.device)
            if model_digest(files) != work.model:
                self._problem = f"{files[-1]}: this node ({socket.gethostname()}) has another model than the others"
        except UserError as error:
            self._problem = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Predict and write the shards of a batch, unless they are there, and count images and objects."""
        results = [
            self._predict_shard(name, images) for name, images in zip(batch["name"], batch["images"], strict=True)
        ]
        return {key: [result[key] for result in results] for key in ("images", "objects", "problem")}

    def _predict_shard(self, name: str, images: str) -> dict[str, Any]:
        locations = [ImageLocation(*pair) for pair in json.loads(images)]
        if self._problem:
            return dict(images=0, objects=0, problem=self._problem)
        if name in self._folder.names():  # written by an actor that died before it could say so
            return dict(images=len(locations), objects=0, problem="")
        try:
            if self._folder.attempt(name) > _ATTEMPTS:
                raise UserError(
                    f"{self._folder}: {_ATTEMPTS} processes died while they predicted the images from "
                    f"{locations[0].name} to {locations[-1].name}: one may be broken, or memory too small"
                )
            predicted = list(self._predict(locations))
            self._folder.write(name, predicted, classes=self._predictor.classes)
        except UserError as error:
            return dict(images=0, objects=0, problem=str(error))
        objects = sum(len(image.instances) for image in predicted if image.instances is not None)
        return dict(images=len(predicted), objects=objects, problem="")

    def _predict(self, locations: Sequence[ImageLocation]) -> Iterator[PredictedImage]:
        """Predict batch by batch; the next batch is read meanwhile."""
        size = self._work.batch_size
        batches = [locations[start : start + size] for start in range(0, len(locations), size)]
        waiting = self._readers.map(self._read, batches[0])
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            images = list(waiting)
            waiting = self._readers.map(self._read, following)
            results = self._predict_batch([image for image in images if not isinstance(image, DataError)])
            for location, image in zip(batch, images, strict=True):
                result = image if isinstance(image, DataError) else next(results)
                if isinstance(result, DataError):
                    text = str(result)
                    text = text if location.name in text else f"{location.name}: {text}"
                    yield PredictedImage(location.name, None, printable(text))
                else:
                    yield PredictedImage(location.name, result[result.scores >= self._work.score_thr], None)

    def _read(self, location: ImageLocation) -> Any:
        try:
            return read_location(location, read=self._predictor.read_image)
        except DataError as error:
            return error

    def _predict_batch(self, images: Sequence[Any]) -> Iterator[Any]:
        """The instances of each image, or its error."""
        if len(images) > 1:
            with contextlib.suppress(DataError):  # of one of them: they are predicted one by one
                yield from self._predictor(images, batch_size=len(images))
                return
        for image in images:
            try:
                yield self._predictor(image)
            except DataError as error:
                yield error


def _shards(locations: Sequence[ImageLocation], *, size: int, done: Any) -> list[dict[str, str]]:
    """Cut all images into shards and leave out what is done: what is left of a run that was killed keeps its names."""
    shards = []
    for number, start in enumerate(range(0, len(locations), size)):
        rest = [location for location in locations[start : start + size] if location.name not in done]
        if rest:
            name = shard_name(number, [location.name for location in rest])
            shards.append(dict(name=name, images=json.dumps(rest)))
    return shards


def _run(ray: Any, shards: list[dict[str, str]], *, work: Work, options: RayOptions) -> Iterator[dict[str, Any]]:
    """Deal the shards to actors.

    Yields:
        What each shard counted.
    """
    data = import_from_extra("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    gpus, actors = find_room(ray, options, device=work.device)
    actors = min(actors, len(shards))
    device = "cpu" if work.device == "auto" and not gpus else work.device
    results = data.from_items(shards, override_num_blocks=min(len(shards), 10_000)).map_batches(
        ShardPredictor,
        batch_size=1,
        compute=data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        fn_constructor_args=(Work(**{**vars(work), "device": device}),),
        num_cpus=options.cpus,
        num_gpus=gpus,
    )
    try:
        for result in results.iter_rows():
            if result["problem"]:
                raise UserError(result["problem"])
            yield result
    except ray.exceptions.RayError as error:
        reason = printable(str(error).strip().splitlines()[-1])
        raise UserError(f"Ray gave up: {reason}; finished shards stay, and the next run does the rest") from error
