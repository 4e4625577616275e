"""Tiny data sets of every format, of one scene: 24 x 16 pixels, a cat with a hole and a dog of two parts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from solo.masks.outlines import trace_rings

HEIGHT, WIDTH = 16, 24
CLASSES = ("cat", "dog")


def scene() -> dict[str, np.ndarray]:
    """(H, W) bool masks by class."""
    cat = np.zeros((HEIGHT, WIDTH), np.bool_)
    cat[2:10, 2:11] = True
    cat[4:7, 5:8] = False
    dog = np.zeros((HEIGHT, WIDTH), np.bool_)
    dog[1:5, 14:20] = True
    dog[8:14, 16:23] = True
    dog[9, 16] = False
    return {"cat": cat, "dog": dog}


def write_image(path: Path, *, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), value, np.uint8))
    return path


def write_mask(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def outer_rings(mask: np.ndarray) -> list[list[float]]:
    return [ring.points.astype(float).ravel().tolist() for ring in trace_rings(mask) if not ring.is_hole]


def write_yolo(folder: Path) -> Path:
    """Two splits; one line for the dog's first part, a triangle of class cat; the second image has no label file."""
    for split in ("train", "val"):
        write_image(folder / "images" / split / "a.png")
        write_image(folder / "images" / split / "b.png")
        labels = folder / "labels" / split / "a.txt"
        labels.parent.mkdir(parents=True)
        labels.write_text("1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n\n0 0 0 0.5 0 0 0.5\n")
    (folder / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
    return folder


def write_labelme(folder: Path, *, image_inside: bool = False) -> Path:
    """The dog as a group of two polygons, the cat as a mask, a line, and a shape that is malformed."""
    masks = scene()
    rows, columns = np.nonzero(masks["cat"])
    box = [[int(columns.min()), int(rows.min())], [int(columns.max()), int(rows.max())]]
    crop = masks["cat"][box[0][1] : box[1][1] + 1, box[0][0] : box[1][0] + 1]
    png = cv2.imencode(".png", crop.astype(np.uint8) * 255)[1].tobytes()
    shapes: list[dict[str, Any]] = [
        dict(label="cat", points=box, shape_type="mask", group_id=None, mask=base64.b64encode(png).decode()),
        *(
            dict(label="dog", points=np.reshape(ring, (-1, 2)).tolist(), shape_type="polygon", group_id=7)
            for ring in outer_rings(masks["dog"])
        ),
        dict(label="dog", points=[[1, 1], [5, 5]], shape_type="line", group_id=None),
        dict(label="dog", points=[[1, 1]], shape_type="polygon", group_id=None),
    ]
    image = write_image(folder / "a.png")
    content = dict(version="5.5", shapes=shapes, imagePath="a.png", imageData=None, imageHeight=16, imageWidth=24)
    if image_inside:
        content["imageData"] = base64.b64encode(image.read_bytes()).decode()
        image.unlink()
    (folder / "a.json").write_text(json.dumps(content))
    return folder


def palette_png(path: Path, values: np.ndarray) -> None:
    """A PNG with VOC's palette, as VOC has them."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8), "P")
    colors = []
    for index in range(256):
        red = green = blue = 0
        for bit in range(8):
            red |= (index >> 3 * bit & 1) << 7 - bit
            green |= (index >> 3 * bit + 1 & 1) << 7 - bit
            blue |= (index >> 3 * bit + 2 & 1) << 7 - bit
        colors += [red, green, blue]
    image.putpalette(colors)
    image.save(path)


def write_voc(folder: Path) -> Path:
    masks = scene()
    objects, classes = np.zeros((2, HEIGHT, WIDTH), int)
    for number, (name, label) in enumerate((("cat", 8), ("dog", 12)), 1):
        objects[masks[name]] = number
        classes[masks[name]] = label
    objects[15], classes[15] = 255, 255
    palette_png(folder / "SegmentationObject" / "a.png", objects)
    palette_png(folder / "SegmentationClass" / "a.png", classes)
    write_image(folder / "JPEGImages" / "a.jpg")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\n")
    (lists / "trainval.txt").write_text("a\n")
    return folder


def write_cityscapes(folder: Path, *, with_values: bool = True) -> Path:
    """A car with a hole (pedestrian within), a person, a group of cars, a caravan, and a road."""
    image = write_image(folder / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000001_leftImg8bit.png")
    assert image.is_file()
    stem = folder / "gtFine" / "val" / "ulm" / "ulm_000000_000001_gtFine"
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    rectangles = [
        ("road", 7, (0, 0, 24, 16)),
        ("car", 26000, (2, 2, 11, 10)),
        ("person", 24000, (5, 4, 8, 7)),
        ("cargroup", 26, (14, 1, 20, 5)),
        ("caravan", 29000, (16, 8, 23, 14)),
    ]
    objects = []
    for label, value, (x1, y1, x2, y2) in rectangles:
        values[y1:y2, x1:x2] = value
        objects.append(dict(label=label, polygon=[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))
    stem.parent.mkdir(parents=True)
    if with_values:
        write_mask(Path(f"{stem}_instanceIds.png"), values)
    content = dict(imgHeight=HEIGHT, imgWidth=WIDTH, objects=objects)
    Path(f"{stem}_polygons.json").write_text(json.dumps(content))
    return folder


def write_mask_files(folder: Path, layout: str) -> Path:
    """The scene in a layout: of label-maps, label-colors, class-maps, class-files, instance-files, bowl."""
    masks = scene()
    if layout == "bowl":
        write_image(folder / "x1" / "images" / "x1.png")
        for number, mask in enumerate(masks.values()):
            write_mask(folder / "x1" / "masks" / f"{number}.png", mask.astype(np.uint8) * 255)
        return folder
    write_image(folder / "images" / "a.png")
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for value, color, (name, mask) in zip((1, 700), ((255, 0, 0), (10, 20, 30)), masks.items(), strict=True):
        values[mask], colors[mask] = value, color
        if layout == "class-files":
            write_mask(folder / "masks" / name / "a.png", mask.astype(np.uint8) * 255)
        if layout == "instance-files":
            write_mask(folder / "masks" / f"a_{value}_{name}.png", mask.astype(np.uint8))
    if layout == "label-maps":
        write_mask(folder / "masks" / "a.png", values)
    if layout == "label-colors":
        write_mask(folder / "masks" / "a_mask.png", colors)
    if layout == "class-maps":
        write_mask(folder / "masks" / "a.png", np.where(values == 700, 2, values).astype(np.uint8))
    return folder
