"""Every format to COCO and YOLO and back: no pixel is lost, and what cannot be held is counted."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from solo.datasets.coco.annotations import read_annotations
from solo.datasets.formats import cityscapes, labelme, voc
from solo.datasets.formats.conversion import FORMATS, OTHER_CLASS, convert, find_format
from solo.datasets.formats.writers import NO_CROWDS
from solo.errors import DataError, OutputError
from tests.helpers.format_files import (
    HEIGHT,
    WIDTH,
    scene,
    write_cityscapes,
    write_image,
    write_labelme,
    write_mask,
    write_mask_files,
    write_voc,
    write_yolo,
)

Masks = list[tuple[str, bool, np.ndarray]]


def masks_of_coco(path: Path) -> Masks:
    """(class, crowd, mask) of every annotation, by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    names = {entry["id"]: entry["name"] for entry in coco.dataset["categories"]}
    return [(names[a["category_id"]], bool(a["iscrowd"]), coco.annToMask(a).astype(bool)) for a in coco.anns.values()]


def masks_of_yolo(folder: Path, split: str) -> Masks:
    """(class, crowd, mask) of every line, filled by OpenCV on a grid sixteen times as fine."""
    import yaml

    names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    found: Masks = []
    for file in sorted((folder / "labels" / split).glob("*.txt")):
        for line in file.read_text().splitlines():
            label, *values = line.split()
            points = np.array(values, float).reshape(-1, 2) * (WIDTH, HEIGHT) * 16
            fine = np.zeros((HEIGHT * 16, WIDTH * 16), np.uint8)
            cv2.fillPoly(fine, [np.rint(points).astype(np.int32)], 1)
            found.append((names[int(label)], False, fine[8::16, 8::16].astype(bool)))
    return found


def expected_scene() -> Masks:
    return [(name, False, mask) for name, mask in scene().items()]


def assert_same(found: Masks, expected: Masks) -> None:
    assert [entry[:2] for entry in found] == [entry[:2] for entry in expected]
    for (name, _, mask), (_, _, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mask, other, err_msg=name)


WRITERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "labelme": (write_labelme, "train"),
    "voc": (write_voc, "val"),
    **{
        layout: (lambda folder, layout=layout: write_mask_files(folder, layout), "train")  # type: ignore[misc]
        for layout in ("class-maps", "class-files", "instance-files", "label-maps", "label-colors", "bowl")
    },
}
FORMAT_OF = {"labelme": "labelme", "voc": "voc"}
# The scene's dog is in two parts, as objects rarely are.
STATED = {"label-maps": "label-maps", "label-colors": "label-maps"}


def renamed(name: str) -> dict[str, str]:
    """Classes that a format does not name, or splits into parts."""
    if name in ("label-maps", "label-colors", "bowl"):
        return {"cat": "object", "dog": "object"}
    return {"cat": "class 1", "dog": "class 2"} if name == "class-maps" else {}


def expected_of(name: str) -> Masks:
    masks = [(renamed(name).get(label, label), crowd, mask) for label, crowd, mask in expected_scene()]
    if name in ("class-maps", "class-files"):  # connected parts are objects
        label, crowd, mask = masks.pop()
        upper = mask.copy()
        upper[6:] = False
        masks += [(label, crowd, upper), (label, crowd, mask & ~upper)]
    return masks


@pytest.mark.parametrize("kind", ["as-is", "rle", "polygons"])
@pytest.mark.parametrize("name", WRITERS)
def test_to_coco(tmp_path: Path, name: str, kind: Any) -> None:
    write, split = WRITERS[name]
    source = write(tmp_path / "source")
    assert find_format(source) == FORMAT_OF.get(name, "masks")
    report = convert(source, tmp_path / "coco", masks=kind, source_format=STATED.get(name))
    file = tmp_path / "coco" / "annotations" / f"instances_{split}.json"
    found = masks_of_coco(file)
    if kind == "polygons":  # pycocotools unites the polygons of an object, and each is filled by the even-odd rule
        assert all(isinstance(a["segmentation"], list) for a in json.loads(file.read_text())["annotations"])
    assert_same(found, expected_of(name))
    checked = read_annotations(file).report
    assert (checked.used, checked.problems, checked.repairs) == (len(found), {}, {})
    assert report.objects == len(found)
    assert report.lowest_iou == 1
    for image in json.loads(file.read_text())["images"]:
        copied = cv2.imread(str(tmp_path / "coco" / split / image["file_name"]))
        assert copied.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", WRITERS)
def test_to_yolo_and_back(tmp_path: Path, name: str) -> None:
    write, split = WRITERS[name]
    source = write(tmp_path / "source")
    report = convert(source, tmp_path / "yolo", target_format="yolo", source_format=STATED.get(name))
    assert (report.compared, report.changed, report.lowest_iou) == (report.objects, [], 1.0)
    for (label, _, mask), (other, _, expected) in zip(
        masks_of_yolo(tmp_path / "yolo", split), expected_of(name), strict=True
    ):
        assert label == other
        # OpenCV fills the outline too, and with it the lines that join parts.
        assert not (expected & ~mask).any()
        assert (mask & ~expected).sum() <= 12
    convert(tmp_path / "yolo", tmp_path / "coco", masks="rle")
    assert_same(masks_of_coco(tmp_path / "coco" / "annotations" / f"instances_{split}.json"), expected_of(name))


def test_what_labelme_has_without_an_area_is_counted(tmp_path: Path) -> None:
    report = convert(write_labelme(tmp_path / "source"), tmp_path / "coco")
    assert report.lost == {labelme.NO_AREA: ["a.json:3"], labelme.MALFORMED: ["a.json:4"]}
    assert "1 left out, shape without an area (point, line): a.json:3" in str(report)


def test_an_image_inside_a_labelme_file(tmp_path: Path) -> None:
    convert(write_labelme(tmp_path / "source", image_inside=True), tmp_path / "coco")
    assert cv2.imread(str(tmp_path / "coco" / "train" / "a.png")).shape == (HEIGHT, WIDTH, 3)
    assert_same(masks_of_coco(tmp_path / "coco" / "annotations" / "instances_train.json"), expected_scene())


def test_labelme_shapes(tmp_path: Path) -> None:
    """Rectangle and circle, another size, another program's json, a missing image, a group of mask and polygon."""
    source = tmp_path / "source"
    write_labelme(source)
    content = json.loads((source / "a.json").read_text())
    shapes = [
        dict(label="r", points=[[20, 12], [4, 2]], shape_type="rectangle"),
        dict(label="c", points=[[8, 8], [8, 3]], shape_type="circle"),
        {**content["shapes"][0], "label": "dog", "group_id": 7},
        content["shapes"][1],
        dict(label="r", points=[[0, 0], [1, "x"]], shape_type="rectangle"),
        dict(label="r", points=[[0, 0], [1, 1]], shape_type="star"),
        dict(label=3, points=[[0, 0], [9, 0], [9, 9]], shape_type="polygon"),
    ]
    (source / "a.json").write_text(json.dumps({**content, "shapes": shapes}))
    (source / "b.json").write_text(json.dumps({**content, "imageWidth": 100}))
    (source / "c.json").write_text("{}")
    (source / "d.json").write_text(json.dumps({**content, "imagePath": "..\\missing.png"}))
    report = convert(source, tmp_path / "coco", source_format="labelme")
    found = masks_of_coco(tmp_path / "coco" / "annotations" / "instances_train.json")
    assert [label for label, _, _ in found] == ["r", "c", "dog"]
    rectangle, circle, dog = (mask for _, _, mask in found)
    assert rectangle.sum() == 16 * 10
    assert abs(circle.sum() - np.pi * 25) < 4
    masks = scene()
    upper = masks["dog"].copy()
    upper[6:] = False
    np.testing.assert_array_equal(dog, masks["cat"] | upper)
    assert report.lost == {
        labelme.MALFORMED: ["a.json:4", "a.json:5", "a.json:6"],
        labelme.OTHER_SIZE: ["b.json"],
        labelme.NOT_LABELME: ["c.json"],
        labelme.NO_IMAGE: ["d.json"],
    }


def test_voc_of_cvat_with_its_own_classes(tmp_path: Path) -> None:
    source = write_voc(tmp_path / "source")
    (source / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nKatze:64,0,0::\n")
    report = convert(source, tmp_path / "coco")
    assert report.lost == {
        voc.UNKNOWN_CLASS: ["a.png:#008000"],
        voc.BORDER_PIXELS: ["a.png (24 pixels)"],
    }
    assert [label for label, _, _ in masks_of_coco(tmp_path / "coco" / "annotations" / "instances_val.json")] == [
        "Katze"
    ]
    (source / "labelmap.txt").write_text("Katze:64,0::\n")
    with pytest.raises(DataError, match=r"labelmap\.txt: expected 'name:red,green,blue:parts:actions', found 'Katze"):
        convert(source, tmp_path / "other")


def test_sbd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    source = tmp_path / "sbd"
    (source / "inst").mkdir(parents=True)
    write_image(source / "img" / "a.jpg")
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, mask in enumerate(scene().values(), 1):
        values[mask] = number
    instances = dict(Segmentation=values, Categories=np.array([[8], [12], [30]], np.uint8))
    scipy_io.savemat(source / "inst" / "a.mat", {"GTinst": instances})
    (source / "val.txt").write_text("a\nb\n")
    report = convert(source, tmp_path / "coco")
    assert_same(masks_of_coco(tmp_path / "coco" / "annotations" / "instances_val.json"), expected_scene())
    assert report.lost == {voc.UNKNOWN_CLASS: ["a.mat:3"], voc.NO_IMAGE: ["b"]}
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"need scipy: pip install scipy$"):
        convert(source, tmp_path / "other")


@pytest.mark.parametrize("with_values", [True, False])
def test_cityscapes(tmp_path: Path, with_values: bool) -> None:
    source = write_cityscapes(tmp_path / "source", with_values=with_values)
    report = convert(source, tmp_path / "coco")
    found = masks_of_coco(tmp_path / "coco" / "annotations" / "instances_val.json")
    assert [entry[:2] for entry in found] == [("car", True), ("person", False), ("car", False)]
    assert [int(mask.sum()) for _, _, mask in found] == [24, 9, 8 * 9 - 9]
    assert report.lost == {cityscapes.NOT_EVALUATED: ["ulm_000000_000001_gtFine:29000"]}
    assert (report.objects, report.crowds) == (2, 1)
    yolo = convert(source, tmp_path / "yolo", target_format="yolo")
    assert yolo.lost[NO_CROWDS] == ["ulm_000000_000001_gtFine:26"]
    assert [label for label, _, _ in masks_of_yolo(tmp_path / "yolo" / "", "val")] == []  # below the city's folder
    assert len((tmp_path / "yolo/labels/val/ulm/ulm_000000_000001_leftImg8bit.txt").read_text().splitlines()) == 2


def test_class_names_of_masks(tmp_path: Path) -> None:
    source = write_mask_files(tmp_path / "source", "class-maps")
    convert(source, tmp_path / "coco", classes=["cat", "dog"])
    found = masks_of_coco(tmp_path / "coco" / "annotations" / "instances_train.json")
    assert [label for label, _, _ in found] == ["cat", "dog", "dog"]
    report = convert(source, tmp_path / "cats", classes=["cat"], source_format="class-maps")
    assert report.lost == {"value has no class name": ["masks/a.png:2"]}
    source = write_mask_files(tmp_path / "labelled", "label-maps")
    convert(source, tmp_path / "labels", classes=["thing"], source_format="label-maps")
    found = masks_of_coco(tmp_path / "labels" / "annotations" / "instances_train.json")
    assert_same(found, [("thing", False, mask) for mask in scene().values()])
    with pytest.raises(DataError, match="1 class names for the 2 colours #0000ff, #1e140a"):
        colors = write_mask_files(tmp_path / "colors", "label-colors")
        convert(colors, tmp_path / "x", classes=["a"], source_format="class-maps")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["0110220330"], ("label-maps", 3)),
        (["0110110110"], ("class-maps", 3)),  # one value
        (["0110220110", "0220110220"], ("class-maps", 6)),  # each value in several parts
        (["0110220000", "0000000330"], ("label-maps", 3)),
    ],
)
def test_whether_values_are_objects_or_classes(tmp_path: Path, rows: list[str], expected: tuple[str, int]) -> None:
    for number, row in enumerate(rows):
        image = np.zeros((4, len(row), 3), np.uint8)
        write_mask(tmp_path / "source" / "images" / f"{number}.png", image)
        values = np.array([[int(digit) for digit in row]] * 4, np.uint8)
        values[0] = 0
        write_mask(tmp_path / "source" / "masks" / f"{number}.png", values)
    report = convert(tmp_path / "source", tmp_path / "coco")
    assert f"(--from {expected[0]})" in str(report)
    assert report.objects == expected[1]


def test_masks_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    source = write_mask_files(tmp_path / "source", "label-maps")
    write_image(source / "images" / "b.png")
    write_mask(source / "masks" / "b.png", np.ones((4, 4), np.uint8))
    write_image(source / "images" / "c.png")
    (source / "masks" / "c.png").write_bytes(b"no image")
    write_mask(source / "masks" / "z.png", np.ones((4, 4), np.uint8))
    (source / "images" / "d.png").write_bytes(b"no image")
    report = convert(source, tmp_path / "coco", source_format="label-maps")
    assert report.lost == {
        "mask file has another size than its image": ["masks/b.png"],
        "mask file cannot be read": ["masks/c.png"],
        "mask file belongs to no image": ["masks/z.png"],
        "image cannot be read": ["d.png"],
    }
    assert (report.images, report.objects) == (3, 2)


def test_classes_are_selected_and_ordered(tmp_path: Path) -> None:
    source = write_labelme(tmp_path / "source")
    report = convert(source, tmp_path / "coco", classes=["dog"])
    assert report.lost[OTHER_CLASS] == ["a.json:0"]
    content = json.loads((tmp_path / "coco" / "annotations" / "instances_train.json").read_text())
    assert content["categories"] == [dict(id=1, name="dog")]
    with pytest.raises(DataError, match=r"has no class 'dogg' \(did you mean 'dog'\?\); it has cat, dog"):
        convert(source, tmp_path / "x", classes=["dogg"])


def test_coco_to_coco_keeps_crowds_and_counts_what_training_leaves_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    convert(write_cityscapes(tmp_path / "city"), source)
    file = source / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["annotations"].append(dict(content["annotations"][0], id=9, category_id=77))
    content["images"].append(dict(id=5, file_name="gone.png", width=24, height=16))
    expected = masks_of_coco(file)
    file.write_text(json.dumps(content))
    report = convert(source, tmp_path / "target")
    assert report.lost == {"unknown category id": [9], "image is missing": ["gone.png"]}
    assert (report.objects, report.crowds) == (2, 1)
    assert_same(masks_of_coco(tmp_path / "target" / "annotations" / "instances_val.json"), expected)


def test_two_splits_and_images_of_one_name(tmp_path: Path) -> None:
    source = write_yolo(tmp_path / "source")
    write_image(source / "images" / "train" / "a.jpg")
    report = convert(source, tmp_path / "yolo", target_format="yolo")
    assert (report.images, report.objects) == (5, 6)
    names = sorted(file.relative_to(tmp_path / "yolo").as_posix() for file in (tmp_path / "yolo").rglob("*.*"))
    assert names == [
        "data.yaml",
        *("images/train/a-2.png", "images/train/a.jpg", "images/train/b.png", "images/val/a.png", "images/val/b.png"),
        *("labels/train/a-2.txt", "labels/train/a.txt", "labels/train/b.txt", "labels/val/a.txt", "labels/val/b.txt"),
    ]


def test_links_instead_of_copies(tmp_path: Path) -> None:
    source = write_mask_files(tmp_path / "source", "label-maps")
    convert(source, tmp_path / "coco", images="link")
    link = tmp_path / "coco" / "train" / "a.png"
    assert link.is_symlink()
    assert link.resolve() == (source / "images" / "a.png").resolve()


def test_a_json_file_alone(tmp_path: Path) -> None:
    source = write_labelme(tmp_path / "source")
    convert(source, tmp_path / "out" / "all.json")
    assert_same(masks_of_coco(tmp_path / "out" / "all.json"), expected_scene())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["all.json"]
    with pytest.raises(OutputError, match="--overwrite"):
        convert(source, tmp_path / "out" / "all.json")
    convert(source, tmp_path / "out" / "all.json", overwrite=True)
    with pytest.raises(OutputError, match="has the splits train, val; give a folder"):
        convert(write_yolo(tmp_path / "yolo"), tmp_path / "out" / "b.json")


@pytest.mark.parametrize("target_format", ["coco", "yolo"])
def test_nothing_is_replaced_or_left_behind(tmp_path: Path, target_format: str) -> None:
    source = write_labelme(tmp_path / "source")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(OutputError, match="exists already, and nothing is replaced"):
        convert(source, tmp_path / "full", target_format=target_format)
    with pytest.raises(OutputError, match="inside the data set"):
        convert(source, source / "coco", target_format=target_format)
    (source / "b.json").write_text("{")
    with pytest.raises(DataError, match=r"b\.json is not JSON"):
        convert(source, tmp_path / "new", target_format=target_format, source_format="labelme")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "source"]


def test_formats_that_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_format(tmp_path / "nowhere")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"no data set of a known format \(yolo: data\.yaml; coco: .*; --from names"):
        convert(tmp_path, tmp_path.parent / "x")
    with pytest.raises(DataError, match=r"'labelm' is no format that is read \(did you mean 'labelme'\?\)"):
        convert(tmp_path, tmp_path.parent / "x", source_format="labelm")
    for name in FORMATS:
        with pytest.raises(DataError, match=str(tmp_path)):
            convert(tmp_path, tmp_path.parent / "x", source_format=name)


def test_names_that_lead_out_of_the_target(tmp_path: Path) -> None:
    source = tmp_path / "source" / "inner"
    image = write_image(tmp_path / "source" / "a.png")
    content = dict(
        images=[dict(id=1, file_name="../a.png", width=24, height=16)],
        annotations=[dict(id=1, image_id=1, category_id=1, segmentation=[[1, 1, 9, 1, 9, 9]])],
        categories=[dict(id=1, name="cat")],
    )
    source.mkdir()
    (source / "instances_train.json").write_text(json.dumps(content))
    assert image.is_file()
    convert(source, tmp_path / "coco")
    assert [path.name for path in (tmp_path / "coco" / "train").iterdir()] == ["a.png"]
