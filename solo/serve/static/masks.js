// COCO's run-length encoding to polygons along the edges of pixels, with holes and parts: exact, as `Instances.polygons`.

// Lengths of runs of background and object, alternating, column by column.
export function parseCounts(text) {
  const counts = [];
  for (let at = 0; at < text.length; ) {
    let value = 0, shift = 0, code;
    do {
      code = text.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32);
    if (code & 16) value |= -1 << shift;
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  return counts;
}

// Pixels of the smallest window around a mask, with a margin of one: { left, top, width, height, pixels }.
export function decodeWindow({ size: [height], counts: text }) {
  const counts = parseCounts(text);
  let left = Infinity, right = -1, top = height, bottom = -1;
  const eachRun = (visit) => {
    for (let i = 1, at = counts[0]; i < counts.length; at += counts[i] + (counts[i + 1] ?? 0), i += 2) {
      if (counts[i]) visit(at, at + counts[i] - 1);
    }
  };
  eachRun((first, last) => {
    const from = Math.floor(first / height), to = Math.floor(last / height);
    left = Math.min(left, from);
    right = Math.max(right, to);
    top = from < to ? 0 : Math.min(top, first % height);
    bottom = from < to ? height - 1 : Math.max(bottom, last % height);
  });
  if (right < 0) return { left: 0, top: 0, width: 2, height: 2, pixels: new Uint8Array(4) };
  const width = right - left + 3, rows = bottom - top + 3;
  const pixels = new Uint8Array(width * rows);
  eachRun((first, last) => {
    for (let at = first; at <= last; at++) {
      pixels[(at % height - top + 1) * width + Math.floor(at / height) - left + 1] = 1;
    }
  });
  return { left: left - 1, top: top - 1, width, height: rows, pixels };
}

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up; the object is at the right hand
const RIGHT_AHEAD = [[0, 0], [-1, 0], [-1, -1], [0, -1]];
const LEFT_AHEAD = [[0, -1], [0, 0], [-1, 0], [-1, -1]];

// Rings { points: [[x, y], ...], isHole }: outer ones clockwise, holes counter-clockwise.
export function traceRings(rle) {
  const { left, top, width, height, pixels } = decodeWindow(rle);
  const isSet = (x, y, [dx, dy]) => pixels[(y + dy) * width + x + dx];
  const seen = new Uint8Array(width * height); // upper sides of pixels that a ring has
  const rings = [];
  for (let start = width; start < pixels.length; start++) {
    if (!pixels[start] || pixels[start - width] || seen[start]) continue;
    const points = [];
    let x = start % width, y = Math.floor(start / width), direction = 0, area = 0;
    do {
      if (direction === 0) seen[y * width + x] = 1;
      const [dx, dy] = STEPS[direction];
      x += dx;
      y += dy;
      area += x * dy - y * dx;
      // Pixels that touch at a corner alone are different parts: turn right where both ways are open.
      const turn = !isSet(x, y, RIGHT_AHEAD[direction]) ? 1 : isSet(x, y, LEFT_AHEAD[direction]) ? 3 : 0;
      if (turn) points.push([x + left, y + top]);
      direction = (direction + turn) % 4;
    } while (direction !== 0 || y * width + x !== start);
    rings.push({ points, isHole: area < 0 });
  }
  return rings;
}

export function toPath(rings) {
  const path = new Path2D();
  for (const { points } of rings) {
    points.forEach(([x, y], index) => (index ? path.lineTo(x, y) : path.moveTo(x, y)));
    path.closePath();
  }
  return path;
}
