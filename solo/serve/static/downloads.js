// Files made in the page: COCO json, labelme, PNG, cut-outs, and zip archives of them.

import { traceRings } from "./masks.js";
import { drawObjects } from "./viewer.js";

export function save(name, content) {
  const blob = content instanceof Blob ? content : new Blob([content], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const stemOf = (name) => name.replace(/\.[^.]*$/, "") || "image";

// A COCO annotation file of entries { name, width, height, instances }, with the server's own RLEs.
export function toCoco(entries, classes) {
  const images = [], annotations = [];
  entries.forEach(({ name, width, height, instances }, index) => {
    images.push({ id: index + 1, file_name: name, width, height });
    for (const { label_id, score, box: [left, top, right, bottom], area, rle } of instances) {
      const id = annotations.length + 1;
      const bbox = [left, top, right - left, bottom - top];
      annotations.push({ id, image_id: index + 1, category_id: label_id + 1, bbox, area, segmentation: rle, iscrowd: 0, score });
    }
  });
  const categories = classes.map((name, index) => ({ id: index + 1, name }));
  return JSON.stringify({ images, annotations, categories });
}

// A labelme file { text, holes }: parts of an object share a group; polygons of labelme have no holes, which are counted.
export function toLabelme({ name, width, height, instances }) {
  const shapes = [];
  let holes = 0;
  instances.forEach(({ label, score, rle }, index) => {
    const rings = traceRings(rle);
    const outer = rings.filter((ring) => !ring.isHole);
    holes += rings.length - outer.length;
    for (const { points } of outer) {
      const group_id = outer.length > 1 ? index + 1 : null;
      shapes.push({ label, points, group_id, description: `score ${score}`, shape_type: "polygon", flags: {}, mask: null });
    }
  });
  const file = { version: "5.5.0", flags: {}, shapes, imagePath: name, imageData: null, imageHeight: height, imageWidth: width };
  return { text: JSON.stringify(file), holes };
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  return canvas;
}

const toBlob = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

// The image at its own size with its layers, as the page shows them; `border` is where the wipe is, or null.
export function toPng(bitmap, layers, style, border) {
  const canvas = canvasOf(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  layers.forEach((objects, side) => {
    context.save();
    if (border !== null) {
      context.beginPath();
      context.rect(side ? border : 0, 0, side ? bitmap.width : border, bitmap.height);
      context.clip();
    }
    drawObjects(context, objects, { ...style, lineWidth: Math.max(1, bitmap.width / 1000) });
    context.restore();
  });
  return toBlob(canvas);
}

// A zip of one transparent PNG an object.
export async function toCutouts(bitmap, objects, name) {
  const files = [];
  for (const [index, { box: [left, top, right, bottom], path, label }] of objects.entries()) {
    const canvas = canvasOf(right - left, bottom - top);
    const context = canvas.getContext("2d");
    context.translate(-left, -top);
    context.clip(path, "evenodd");
    context.drawImage(bitmap, 0, 0);
    const number = String(index + 1).padStart(4, "0");
    files.push([`${stemOf(name)}_${number}_${safeName(label)}.png`, new Uint8Array(await (await toBlob(canvas)).arrayBuffer())]);
  }
  return toZip(files);
}

export const safeName = (text) => text.replace(/[^\p{L}\p{N} ._-]/gu, "_").slice(0, 80) || "_";

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

// A zip archive without compression of [name, bytes]; names are made different.
export function toZip(files) {
  const encoder = new TextEncoder();
  const parts = [], directory = [], taken = new Set();
  let offset = 0;
  for (const [wanted, bytes] of files) {
    const dot = wanted.lastIndexOf(".");
    let name = wanted;
    for (let number = 2; taken.has(name); number++) name = `${wanted.slice(0, dot)} (${number})${wanted.slice(dot)}`;
    taken.add(name);
    const encoded = encoder.encode(name);
    let crc = -1;
    for (const byte of bytes) crc = (crc >>> 8) ^ CRC[(crc ^ byte) & 255];
    // Version, UTF-8 names, stored, 1 January 1980, check sum, sizes, length of the name, nothing else.
    const common = [20, 0, 0, 8, 0, 0, 0, 0, 33, 0, ...uint32(~crc), ...uint32(bytes.length), ...uint32(bytes.length), ...uint16(encoded.length), 0, 0];
    const head = Uint8Array.from([0x50, 0x4b, 3, 4, ...common]);
    parts.push(head, encoded, bytes);
    directory.push(Uint8Array.from([0x50, 0x4b, 1, 2, 20, 0, ...common, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...uint32(offset)]), encoded);
    offset += head.length + encoded.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = uint16(files.length);
  const end = Uint8Array.from([0x50, 0x4b, 5, 6, 0, 0, 0, 0, ...count, ...count, ...uint32(size), ...uint32(offset), 0, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

const uint16 = (value) => [value & 255, (value >>> 8) & 255];
const uint32 = (value) => [...uint16(value), ...uint16(value >>> 16)];
