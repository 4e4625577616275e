"""Checks of annotation files and their images before training: what would fail, and what would spoil the result."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.coco.image_files import find_missing
from solo.datasets.insight.findings import Finding, judge
from solo.datasets.insight.source import AnnotationSource, pair_folders
from solo.errors import DataError
from solo.images.reading import UnreadableImageError, check_image_file
from solo.masks.segmentations import runs_from_segmentations

MAX_UNREADABLE = 10
"""Unreadable images that training skips, the default of `CocoInstances`; an evaluation stops at the first."""
MIN_AREA = 9
"""Masks of fewer pixels are reported: 3 x 3 pixels do not show what an object is."""
MIN_FILL = 0.05
"""Masks that fill less of their own box are reported: lines, or a few pixels far apart."""
BOX_TOLERANCE = 5.0
"""Pixels that a side of a box may differ from that of its mask."""
FEW_OBJECTS = 10
"""Classes with fewer objects are reported: nothing general can be learned from them."""


class _Clock:
    """Seconds since the last reading."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        self._start, passed = now, now - self._start
        return passed


def check_sources(
    paths: Sequence[Path | str], *, images: Sequence[str] | None = None, with_images: bool = True
) -> list[Finding]:
    """Check annotation files, each on its own, then against one another.

    The first file is the one to train on, the others are those to evaluate.

    Args:
        paths: The files.
        images: Folder of the images of each, or one for all; None looks for them.
        with_images: Check image files too.

    Returns:
        The findings, those of each file together, then those of several files.

    Raises:
        DataError: A file cannot be read, or there are several folders, but not one for each file.
    """
    findings: list[Finding] = []
    sources, hashes = [], []
    for number, (path, folder) in enumerate(zip(paths, pair_folders(paths, images), strict=True)):
        clock = _Clock()
        source = AnnotationSource.open(path, images=folder)
        findings += _check_annotations(source, seconds=clock.lap())
        if with_images and (source.has_images or folder is not None):
            found, digests = _check_image_files(source, is_training=number == 0)
            findings += found
            hashes.append(digests)
        elif with_images:
            findings.append(_images_not_found(source))
        findings += [*_check_masks(source), *_check_classes(source)]
        sources.append(source)
    if with_images and len(hashes) == len(sources):
        findings += _check_duplicates(sources, hashes)
    return [*findings, *_check_same_classes(sources)]


# --------------------------------------------------------------------------------------------------------- annotations
def _check_annotations(source: AnnotationSource, *, seconds: float) -> Iterator[Finding]:
    """The findings of the reader, which training reads with."""
    report, name = source.checked.report, str(source.path)
    left_out = [entry for ids in report.problems.values() for entry in ids]
    text = "left out: " + ", ".join(f"{len(ids)} {kind}" for kind, ids in sorted(report.problems.items()))
    yield judge("annotations", name, left_out, text=text, seconds=seconds)
    repaired = [entry for ids in report.repairs.values() for entry in ids]
    text = "used all the same: " + ", ".join(f"{len(ids)} {kind}" for kind, ids in sorted(report.repairs.items()))
    yield judge("repairs", name, repaired, text=text)
    nothing = [] if report.used else [name]
    yield judge("objects", name, nothing, text="no usable object", severity="failure")


# --------------------------------------------------------------------------------------------------------- image files
def _images_not_found(source: AnnotationSource) -> Finding:
    text = "no image is beside the file; name their folder with --images, or check without them by --no-images"
    names = [image["file_name"] for image in source.checked.images]
    return judge("images", str(source.path), names or ["the file has no images"], text=text)


def _check_image_files(source: AnnotationSource, *, is_training: bool) -> tuple[list[Finding], dict[str, str]]:
    """Missing, unreadable and wrongly annotated images; and the hash of each readable file by its path."""
    clock, name = _Clock(), str(source.path)
    images = list(source.images())
    paths = [str(image.path) for image in images]
    missing = find_missing(paths)
    limit = MAX_UNREADABLE if is_training else 0
    fails = len(missing) > limit or len(missing) == len(paths) > 0
    findings = [
        judge(
            "missing images",
            name,
            missing,
            text=f"not in {source.folder}",
            severity="failure" if fails else "warning",
            seconds=clock.lap(),
        )
    ]
    absent, hashes = set(missing), {}
    unreadable, sizes = [], []
    for path, image in zip(paths, images, strict=True):
        if path in absent:
            continue
        try:
            content = check_image_file(path, annotated=(image.annotated.height, image.annotated.width))
            hashes[path] = hashlib.blake2b(content, digest_size=16).hexdigest()
        except UnreadableImageError as error:
            unreadable.append(str(error))
        except DataError as error:
            sizes.append(str(error))
    fails = len(unreadable) + len(missing) > limit
    findings.append(
        judge(
            "unreadable images",
            name,
            unreadable,
            text="cannot be read",
            severity="failure" if fails else "warning",
            seconds=clock.lap(),
        )
    )
    findings.append(judge("image sizes", name, sizes, text="another size than annotated", severity="failure"))
    return findings, hashes


def _check_duplicates(sources: Sequence[AnnotationSource], hashes: Sequence[dict[str, str]]) -> Iterator[Finding]:
    """Images of equal bytes: within a file, and in several files, where an evaluation would be of training images."""
    files: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for number, digests in enumerate(hashes):
        for path, digest in digests.items():
            files[digest].append((number, path))
    for number, source in enumerate(sources):
        groups = [[path for owner, path in group if owner == number] for group in files.values()]
        within = [" = ".join(paths) for paths in groups if len(paths) > 1]
        yield judge("duplicate images", str(source.path), within, text="the same bytes")
    if len(sources) > 1:
        across = [
            " = ".join(path for _, path in group) for group in files.values() if len({owner for owner, _ in group}) > 1
        ]
        yield judge("images in several files", "", across, text="an evaluation would know them")


# --------------------------------------------------------------------------------------------------------------- masks
def _check_masks(source: AnnotationSource) -> Iterator[Finding]:
    """Near-empty masks, boxes that are not those of the masks, and objects annotated twice."""
    clock, name = _Clock(), str(source.path)
    tiny: list[object] = []
    thin: list[object] = []
    boxes: list[object] = []
    twice: list[object] = []
    for image in source.checked.annotated_images():
        if len(image.instances):
            for found, rows in zip((tiny, thin, boxes, twice), _odd_masks(image), strict=True):
                found += [image.annotation_ids[row] for row in rows]
    yield judge("near-empty masks", name, tiny, text=f"masks of less than {MIN_AREA} pixels", seconds=clock.lap())
    yield judge("thin masks", name, thin, text=f"masks that fill less than {MIN_FILL:.0%} of their box")
    yield judge("boxes", name, boxes, text=f"boxes more than {BOX_TOLERANCE:g} pixels off their mask")
    yield judge("duplicate objects", name, twice, text="the same box and class as an earlier object of the image")


def _odd_masks(image: AnnotatedImage) -> tuple[list[int], list[int], list[int], list[int]]:
    """Rows of the image's instances with a near-empty, a thin mask, a box of something else, and repeated ones."""
    instances = image.instances
    runs = runs_from_segmentations(instances.masks, height=image.height, width=image.width)
    areas, tight, boxes = runs.areas(), runs.tight_boxes(), instances.box_array()
    is_object = np.asarray(instances.ignore_flags, np.int64) == 0
    is_tiny = areas < MIN_AREA
    is_thin = ~is_tiny & (areas < MIN_FILL * (tight[:, 2:] - tight[:, :2]).prod(axis=1))
    is_off = (areas > 0) & (abs(tight - boxes) > BOX_TOLERANCE).any(axis=1)
    keys = np.column_stack([boxes, instances.labels])
    _, first = np.unique(keys, axis=0, return_index=True)
    is_repeated = np.ones(len(keys), np.bool_)
    is_repeated[first] = False
    odd = (is_tiny, is_thin, is_off, is_repeated)
    return tuple(np.flatnonzero(each & is_object).tolist() for each in odd)


# ------------------------------------------------------------------------------------------------------------- classes
def _check_classes(source: AnnotationSource) -> Iterator[Finding]:
    """Classes without objects, and with few of them."""
    name, checked = str(source.path), source.checked
    counts = np.zeros(len(checked.classes), np.int64)
    for image in checked.annotated_images():
        labels = np.asarray(image.instances.labels, np.int64)
        ordinary = labels[np.asarray(image.instances.ignore_flags, np.int64) == 0]
        counts += np.bincount(ordinary, minlength=len(counts))
    empty = [checked.classes[label] for label in np.flatnonzero(counts == 0)]
    yield judge("classes without objects", name, empty, text="no object")
    few = [checked.classes[label] for label in np.flatnonzero((counts > 0) & (counts < FEW_OBJECTS))]
    yield judge("class balance", name, few, text=f"less than {FEW_OBJECTS} objects")


def _check_same_classes(sources: Sequence[AnnotationSource]) -> Iterator[Finding]:
    """Files whose classes are not those of the first file, in the same order: labels would mean something else."""
    expected = sources[0].checked.classes
    for source in sources[1:]:
        found = source.checked.classes
        differing = [] if found == expected else sorted(set(expected) ^ set(found)) or list(found)
        yield judge(
            "same classes",
            str(source.path),
            differing,
            text=f"not the classes of {sources[0].path}, or in another order",
            severity="failure",
        )
