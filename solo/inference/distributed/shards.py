"""Predictions of many images as parquet shards of RLEs: what `solo predict --ray` writes, and how it is read."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from solo.errors import ConfigError, OutputError, printable
from solo.inference.instances import Instances
from solo.inference.writers.coco_spool import CocoSpool

MANIFEST_FILE = "manifest.json"
_CLASSES_KEY = b"solo.classes"
_SUFFIX, _TEMPORARY_SUFFIX = ".parquet", ".tmp"


class PredictedImage(NamedTuple):
    """An image of a shard.

    Attributes:
        path: absolute path, or URL without user, password and query.
        instances: None if the image could not be predicted.
        error: why not; None if it was.
    """

    path: str
    instances: Instances | None
    error: str | None


def read_shards(folder: str | Path) -> Iterator[PredictedImage]:
    """Read the images that `solo predict --ray` wrote to a folder, shard by shard.

    Args:
        folder: local, or a URL that fsspec opens.

    Raises:
        ConfigError: pyarrow is not installed.
        OutputError: the folder holds no shard, or one is damaged.
    """
    shards = ShardFolder(folder)
    names = shards.names()
    if not names:
        raise OutputError(f"{shards}: holds no shard of solo predict --ray")
    for name in names:
        yield from shards.read(name)


def write_coco(folder: str | Path, path: str | Path) -> int:
    """Join the shards of a folder into one COCO annotation file, in bounded memory.

    Args:
        folder: as for `read_shards`.
        path: the file. `images` have the paths as `file_name`; those that could not be predicted are left out.

    Returns:
        Number of images left out.

    Raises:
        ConfigError: as `read_shards`.
        OutputError: as `read_shards`, or the file cannot be written.
    """
    spool, left_out = None, 0
    for image in read_shards(folder):
        if image.instances is None:
            left_out += 1
            continue
        if spool is None:
            spool = CocoSpool(
                Path(path), classes=image.instances.classes, info=dict(description="solo: predicted instances")
            )
        height, width = image.instances.image_size
        number = spool.num_images + 1
        annotations = image.instances.to_coco(image_id=number, first_id=spool.num_annotations + 1)
        spool.add(dict(id=number, file_name=image.path, width=width, height=height), annotations)
    if spool is None:
        raise OutputError(f"{printable(str(folder))}: none of its images could be predicted")
    spool.close()
    return left_out


class ShardFolder:
    """A folder of shards, local or of any file system that fsspec knows."""

    def __init__(self, location: str | Path) -> None:
        """Find the file system of a path or URL.

        Raises:
            ConfigError: fsspec, pyarrow or the package of the file system is missing.
        """
        self._shown = printable(str(location))
        self._pyarrow = import_from_extra("pyarrow")
        self._parquet = import_from_extra("pyarrow.parquet")
        fsspec = import_from_extra("fsspec")
        try:
            self._files, root = fsspec.core.url_to_fs(str(location))
        except (ImportError, ValueError) as error:  # of an unknown protocol, or one whose package is missing
            raise ConfigError(f"{self._shown}: {printable(str(error))}") from None
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return self._shown

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Check that the folder is empty or belongs to a run with this manifest.

        Raises:
            OutputError: it belongs to another run, or holds other files.
        """
        present = self._list()
        if MANIFEST_FILE not in present:
            if others := [name for name in present if not name.endswith(_TEMPORARY_SUFFIX)]:
                raise OutputError(
                    f"{self} holds {printable(others[0])} but no {MANIFEST_FILE} of solo predict --ray; choose another "
                    "--out-dir"
                )
            return
        with self._errors(f"{MANIFEST_FILE} is damaged"):
            found = dict(json.loads(self._files.cat_file(self._path(MANIFEST_FILE))))
        wanted = json.loads(_to_json(manifest))
        different = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
        if different:
            key = different[0]
            raise OutputError(
                f"{self} belongs to another run: its {key} is {printable(str(found.get(key)))}, here "
                f"{printable(str(wanted.get(key)))}; choose another --out-dir"
            )

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest of a run unless it is there, after `check`, and remove what was left unfinished.

        Raises:
            OutputError: it cannot be written.
        """
        if MANIFEST_FILE not in self._list():
            self._write(MANIFEST_FILE, _to_json(manifest).encode())
        self.remove_unfinished()

    def attempt(self, name: str) -> int:
        """Note that a shard is begun, and count how often it was since the run was started.

        Raises:
            OutputError: the folder cannot be written to.
        """
        mark = f".{name}."
        with self._errors(f"{name} cannot be begun"):
            self._files.pipe_file(self._path(f"{mark}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"), b"\n")
        return sum(other.startswith(mark) for other in self._list())

    def names(self) -> list[str]:
        """The finished shards, in the order of the images."""
        return [name for name in self._list() if name.endswith(_SUFFIX)]

    def read_errors(self) -> dict[str, str | None]:
        """The paths in the finished shards, with the error of each or None."""
        found: dict[str, str | None] = {}
        for name in self.names():
            table = self._read_table(name, columns=["path", "error"])
            found.update(zip(table["path"].to_pylist(), table["error"].to_pylist(), strict=True))
        return found

    def read(self, name: str) -> Iterator[PredictedImage]:
        """Read the images of a shard.

        Raises:
            OutputError: it is damaged.
        """
        table = self._read_table(name)
        with self._errors(f"{name} is damaged"):
            classes = json.loads((table.schema.metadata or {})[_CLASSES_KEY])
            images = [_from_row(row, classes) for row in table.to_pylist()]
        yield from images

    def write(self, name: str, images: Sequence[PredictedImage], *, classes: Sequence[str]) -> None:
        """Write a shard whole under a temporary name and rename it.

        Raises:
            OutputError: it cannot be written.
        """
        schema = self._schema().with_metadata({_CLASSES_KEY: json.dumps(list(classes))})
        table = self._pyarrow.Table.from_pylist([_to_row(image) for image in images], schema=schema)
        buffer = self._pyarrow.BufferOutputStream()
        self._parquet.write_table(table, buffer, compression="zstd")
        self._write(name, buffer.getvalue().to_pybytes())

    def remove_unfinished(self) -> None:
        """Remove temporary files, of writers that were killed and of `attempt`."""
        for name in self._list():
            if name.endswith(_TEMPORARY_SUFFIX):
                with contextlib.suppress(OSError):
                    self._files.rm_file(self._path(name))

    def _schema(self) -> Any:
        arrow = self._pyarrow
        objects = {
            "labels": arrow.int32(),
            "class_names": arrow.string(),
            "scores": arrow.float32(),
            "boxes": arrow.list_(arrow.float32()),
            "counts": arrow.string(),
        }
        columns = {"path": arrow.string(), "height": arrow.int32(), "width": arrow.int32()}
        columns |= {name: arrow.list_(kind) for name, kind in objects.items()} | {"error": arrow.string()}
        return arrow.schema(list(columns.items()))

    def _read_table(self, name: str, *, columns: list[str] | None = None) -> Any:
        with self._errors(f"{name} is damaged"), self._files.open(self._path(name), "rb") as file:
            return self._parquet.read_table(file, columns=columns)

    def _write(self, name: str, content: bytes) -> None:
        temporary = self._path(f".{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}")
        with self._errors(f"{name} cannot be written"):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(temporary, content)
            self._files.mv(temporary, self._path(name))

    def _list(self) -> list[str]:
        with self._errors("the folder cannot be listed"):
            self._files.invalidate_cache()
            if not self._files.exists(self._root):
                return []
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in self._files.ls(self._root, detail=False))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _errors(self, problem: str) -> Iterator[None]:
        """Convert whatever a file system raises: they have no common class of errors."""
        try:
            yield
        except Exception as error:
            reason = printable(" ".join(str(error).split()))[:300] or type(error).__name__
            raise OutputError(f"{self}: {problem}: {reason}") from error


def shard_name(number: int, paths: Sequence[str]) -> str:
    """The name of a shard: the same images give the same name, so that a shard written twice is there once."""
    digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()
    return f"shard-{number:06d}-{digest[:16]}{_SUFFIX}"


def import_from_extra(name: str) -> Any:
    """Import a module that comes with the extra `ray`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise ConfigError(f"{error.name} is not installed: pip install 'solov2[ray]'") from None


def _to_json(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=1, default=str)


def _to_row(image: PredictedImage) -> dict[str, Any]:
    if image.instances is None:
        return dict(path=image.path, error=image.error)
    found = image.instances
    height, width = found.image_size
    return dict(
        path=image.path,
        height=height,
        width=width,
        labels=found.labels.tolist(),
        class_names=[found.classes[label] for label in found.labels],
        scores=found.scores.tolist(),
        boxes=found.boxes.tolist(),
        counts=[rle["counts"] for rle in found.rles],
    )


def _from_row(row: Mapping[str, Any], classes: Sequence[str]) -> PredictedImage:
    if row["error"] is not None:
        return PredictedImage(row["path"], None, row["error"])
    size = (row["height"], row["width"])
    instances = Instances(
        labels=row["labels"],
        scores=row["scores"],
        boxes=row["boxes"],
        rles=[dict(size=list(size), counts=counts) for counts in row["counts"]],
        image_size=size,
        classes=classes,
    )
    return PredictedImage(row["path"], instances, None)
