// The canvas: draws an image with its objects, zooms, pans, and finds the object under the pointer.

const MAX_SCALE = 64;
const CLICK_DISTANCE = 4;

// Draws objects { path, colour, isHovered } in the coordinates of the image.
export function drawObjects(context, objects, { opacity, outlines, lineWidth }) {
  for (const { path, colour, isHovered } of objects) {
    context.globalAlpha = isHovered ? Math.min(1, opacity + 0.3) : opacity;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    if (!outlines && !isHovered) continue;
    context.globalAlpha = 1;
    context.strokeStyle = isHovered ? "#ffffff" : colour;
    context.lineWidth = lineWidth * (isHovered ? 1.8 : 1);
    context.stroke(path);
  }
  context.globalAlpha = 1;
}

export class Viewer {
  // `layers()` gives the objects at the left and at the right of the wipe; `onHover` and `onClick` get one, or null.
  constructor(canvas, { layers, style, onHover, onClick }) {
    Object.assign(this, { canvas, layers, style, onHover, onClick });
    this.context = canvas.getContext("2d");
    this.bitmap = null;
    this.view = { scale: 1, x: 0, y: 0 };
    this.wipe = null; // share of the width, or null
    this.hovered = null;
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.onUp(event));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("dblclick", () => this.fit());
  }

  show(bitmap, { keepView = false } = {}) {
    if (this.bitmap !== bitmap) this.bitmap?.close();
    const isSameSize = this.bitmap && bitmap && this.size?.[0] === bitmap.width && this.size?.[1] === bitmap.height;
    this.bitmap = bitmap;
    this.size = bitmap && [bitmap.width, bitmap.height];
    this.hover(null);
    if (!(keepView && isSameSize)) this.fit();
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const wasFit = this.isFit;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (wasFit) this.fit();
    this.draw();
  }

  fit() {
    this.isFit = true;
    if (!this.bitmap) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = Math.min((width - 32) / this.bitmap.width, (height - 32) / this.bitmap.height, MAX_SCALE);
    this.view = { scale, x: (width - this.bitmap.width * scale) / 2, y: (height - this.bitmap.height * scale) / 2 };
    this.draw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const { scale } = this.view;
    const next = Math.min(MAX_SCALE, Math.max(0.02, scale * factor));
    this.view = { scale: next, x: x - ((x - this.view.x) * next) / scale, y: y - ((y - this.view.y) * next) / scale };
    this.isFit = false;
    this.draw();
  }

  // The canvas is drawn once a frame, however often it is asked for.
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.render();
    });
  }

  render() {
    const { context, canvas, bitmap, view } = this;
    const ratio = canvas.width / Math.max(1, canvas.clientWidth);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!bitmap) return;
    context.setTransform(view.scale * ratio, 0, 0, view.scale * ratio, view.x * ratio, view.y * ratio);
    context.imageSmoothingEnabled = view.scale < 3;
    context.drawImage(bitmap, 0, 0);
    const border = this.wipeBorder();
    const style = { ...this.style(), lineWidth: 1.5 / view.scale };
    this.layers().forEach((objects, side) => {
      context.save();
      if (border !== null) {
        context.beginPath();
        context.rect(side ? border : -1e6, -1e6, side ? 1e7 : border + 1e6, 1e7);
        context.clip();
      }
      drawObjects(context, objects.map((each) => ({ ...each, isHovered: each === this.hovered })), style);
      context.restore();
    });
    canvas.dataset.view = JSON.stringify(view);
  }

  // Where the wipe is, in the image; null without one.
  wipeBorder() {
    return this.wipe === null ? null : (this.wipe * this.canvas.clientWidth - this.view.x) / this.view.scale;
  }

  // The smallest object at a point of the canvas.
  find(event) {
    if (!this.bitmap) return null;
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - this.view.x) / this.view.scale;
    const y = (event.clientY - box.top - this.view.y) / this.view.scale;
    const border = this.wipeBorder();
    const layers = this.layers();
    const objects = border === null ? layers.flat() : layers[x < border ? 0 : 1];
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    let found = null;
    for (const each of objects) {
      const [left, top, right, bottom] = each.box;
      if (x < left || y < top || x >= right || y >= bottom || (found && found.area <= each.area)) continue;
      if (this.context.isPointInPath(each.path, x, y, "evenodd")) found = each;
    }
    return found;
  }

  hover(found, event) {
    const isNew = found !== this.hovered;
    this.hovered = found;
    this.canvas.classList.toggle("over", Boolean(found));
    this.onHover(found, event);
    if (isNew) this.draw();
  }

  onWheel(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX - box.left, event.clientY - box.top);
  }

  onDown(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.moved = this.pointers.size > 1 ? Infinity : 0;
  }

  onMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.hover(this.find(event), event);
    const after = { x: event.clientX, y: event.clientY };
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    this.pointers.set(event.pointerId, after);
    if (others.length) {
      const distance = (point) => Math.hypot(point.x - others[0].x, point.y - others[0].y) || 1;
      const box = this.canvas.getBoundingClientRect();
      this.zoom(distance(after) / distance(before), (after.x + others[0].x) / 2 - box.left, (after.y + others[0].y) / 2 - box.top);
      return;
    }
    this.moved += Math.hypot(after.x - before.x, after.y - before.y);
    if (this.moved < CLICK_DISTANCE) return;
    this.canvas.classList.add("dragging");
    this.isFit = false;
    this.view = { ...this.view, x: this.view.x + after.x - before.x, y: this.view.y + after.y - before.y };
    this.draw();
  }

  onUp(event) {
    this.canvas.classList.remove("dragging");
    const wasDown = this.pointers.delete(event.pointerId);
    if (wasDown && event.type === "pointerup" && this.moved < CLICK_DISTANCE) this.onClick(this.find(event));
  }
}
