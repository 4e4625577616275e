"""Converts a data set of any format that is read to one that is written."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from solo.datasets.formats import cityscapes, coco_files, labelme, mask_layout, yolo
from solo.datasets.formats.cityscapes import CityscapesSource
from solo.datasets.formats.coco_files import CocoSource
from solo.datasets.formats.files import split_folders
from solo.datasets.formats.labelme import LabelmeSource
from solo.datasets.formats.mask_files import LAYOUTS, MaskFilesSource
from solo.datasets.formats.records import ConversionReport, Source
from solo.datasets.formats.voc import SbdSource, VocSource
from solo.datasets.formats.writers import CocoWriter, ImageFiles, Masks, Writer, YoloWriter
from solo.datasets.formats.yolo import YoloSource
from solo.errors import DataError, OutputError, suggestion
from solo.output_files import check_outputs

OTHER_CLASS = "class that was not asked for"
MASKS = "masks"


class Format(NamedTuple):
    """A format that is read."""

    found_by: str  # what a folder must hold
    detect: Callable[[Path], bool]
    open: Callable[[Path, ConversionReport, Sequence[str]], Source]


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda path: any((path / name).is_dir() for name in names)


def _has_masks(path: Path) -> bool:
    return path.is_dir() and any(
        each.masks for folder in split_folders(path).values() for each in mask_layout.find_mask_files(folder)[0]
    )


def _has_inst(path: Path) -> bool:
    return (path / "inst").is_dir() and (path / "img").is_dir()


def _mask_format(layout: str) -> Format:
    return Format(
        "named by --from",
        lambda path: False,
        lambda path, report, names: MaskFilesSource(path, report, layout=layout, names=names),
    )


# In the order in which a data set is looked at.
FORMATS: dict[str, Format] = {
    "yolo": Format(
        "data.yaml", lambda path: yolo.find_yaml(path) is not None, lambda path, report, _: YoloSource(path, report)
    ),
    "coco": Format(
        "json files with images and categories, here, in annotations/ or in folders of the splits",
        lambda path: bool(coco_files.find_files(path)),
        lambda path, report, _: CocoSource(path, report),
    ),
    "cityscapes": Format(
        "gtFine/",
        lambda path: cityscapes.find_annotations(path) is not None,
        lambda path, report, _: CityscapesSource(path, report),
    ),
    "voc": Format("SegmentationObject/", _has("SegmentationObject"), lambda path, report, _: VocSource(path, report)),
    "sbd": Format("inst/ and img/", _has_inst, lambda path, report, _: SbdSource(path, report)),
    "labelme": Format("json files with shapes", labelme.detect, lambda path, report, _: LabelmeSource(path, report)),
    MASKS: Format(
        "images/ and masks/", _has_masks, lambda path, report, names: MaskFilesSource(path, report, names=names)
    ),
    **{layout: _mask_format(layout) for layout in LAYOUTS},
}
TARGETS = ("coco", "yolo")


def find_format(path: Path) -> str:
    """Find the format of a data set by what a folder holds.

    Raises:
        DataError: it is none that is known.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    for name, each in FORMATS.items():
        if each.detect(path):
            return name
    known = "; ".join(f"{name}: {each.found_by}" for name, each in FORMATS.items() if name not in LAYOUTS)
    raise DataError(f"{path} holds no data set of a known format ({known}); --from names one")


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    masks: Masks = "as-is",
    classes: Sequence[str] = (),
    images: ImageFiles = "copy",
    overwrite: bool = False,
) -> ConversionReport:
    """Convert a data set, image by image.

    Args:
        source: its folder, or its COCO file or data.yaml.
        target: the folder to make, which appears when it is complete; or a json file for COCO annotations alone, whose
            `file_name`s are those of the source.
        source_format: a name of `FORMATS`; None finds it.
        target_format: a name of `TARGETS`; None is "coco".
        masks: of COCO: "rle" or "polygons" for all, "as-is" for those of the source.
        classes: names to keep, in the order of the labels; of masks in files, which have no names, the names.
        images: "copy" the image files, or "link" to them.
        overwrite: replace a json file that exists.

    Raises:
        DataError: the source cannot be read, a class is unknown, or there is nothing to write.
        OutputError: the target exists or cannot be written.
    """
    path, place = Path(source).expanduser(), Path(target).expanduser()
    name = source_format or find_format(path)
    if name not in FORMATS:
        raise DataError(f"{name!r} is no format that is read{suggestion(name, FORMATS)}; known: {', '.join(FORMATS)}")
    to = target_format or "coco"
    if to not in TARGETS:
        raise DataError(f"{to!r} is no format that is written{suggestion(to, TARGETS)}; known: {', '.join(TARGETS)}")
    if not path.exists():
        raise DataError(f"{path} does not exist")
    is_file = place.suffix.lower() == ".json"
    if is_file and to != "coco":
        raise OutputError(f"{place}: {to} is a folder, not a json file")
    _check_target(place, path, is_file=is_file, overwrite=overwrite)
    report = ConversionReport()
    opened = FORMATS[name].open(path, report, tuple(classes))
    report.remarks.insert(0, f"read as {name}")
    names = _choose_classes(opened.classes, classes, path)
    if is_file and len(opened.splits) > 1:
        raise OutputError(f"{place}: the data set has the splits {', '.join(opened.splits)}; give a folder as target")
    # A name of its own: another conversion to the same place does not get in its way.
    unfinished = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
    try:
        writer: Writer
        if to == "yolo":
            writer = YoloWriter(unfinished, classes=names, report=report, images=images)
        else:
            files = None if is_file else images
            writer = CocoWriter(unfinished, classes=names, report=report, masks=masks, images=files)
        _write(opened, writer, names, report)
        if not report.images:
            raise DataError(f"{path}: no image to write\n{report}")
        _publish(unfinished, place)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror}") from None
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
    return report


def _write(opened: Source, writer: Writer, names: Sequence[str], report: ConversionReport) -> None:
    wanted = set(names)
    for split in opened.splits:
        writer.start_split(split)
        for image in opened.images(split):
            others = [each.object_id for each in image.objects if each.class_name not in wanted]
            if others:
                report.lost[OTHER_CLASS] += others
            kept = [each for each in image.objects if each.class_name in wanted]
            writer.write(replace(image, objects=kept))
    writer.finish()


def _choose_classes(known: Sequence[str], wanted: Sequence[str], path: Path) -> tuple[str, ...]:
    if not known:
        raise DataError(f"{path}: no annotated object")
    for name in wanted:
        if name not in known:
            raise DataError(f"{path} has no class {name!r}{suggestion(name, known)}; it has {', '.join(known[:20])}")
    if len(set(wanted)) < len(wanted):
        raise DataError(f"a class is named twice: {', '.join(wanted)}")
    return tuple(wanted) or tuple(known)


def _check_target(place: Path, source: Path, *, is_file: bool, overwrite: bool) -> None:
    if is_file:
        check_outputs([place], overwrite=overwrite, inputs=[source] if source.is_file() else ())
    elif place.is_dir() and not any(place.iterdir()):
        return
    elif os.path.lexists(place):
        raise OutputError(f"{place} exists already, and nothing is replaced in it; choose another name")
    elif source.is_dir() and place.resolve().is_relative_to(source.resolve()):
        raise OutputError(f"{place} lies inside the data set that is read; choose a folder beside it")


def _publish(unfinished: Path, place: Path) -> None:
    """Give what was written its name; an empty folder of that name goes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        place.rmdir()
    unfinished.replace(place)
