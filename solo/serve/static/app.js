// The page: its state, and what the controls do. The model is called once for an image; everything else happens here.
// Names of files and classes reach the page through textContent alone.

import { fetchMetadata, loadBitmap, predict } from "./api.js";
import { safeName, save, stemOf, toCoco, toCutouts, toLabelme, toPng, toZip } from "./downloads.js";
import { toPath, traceRings } from "./masks.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const IMAGE_NAME = /\.(avif|bmp|gif|jpe?g|jp2|png|pbm|pgm|ppm|pnm|tiff?|webp)$/i;
const STAGES = { read: "#06b6d4", network: "#4f46e5", decode: "#f59e0b", send: "#94a3b8", wait: "#cbd5e1" };
const BINS = 38;
const THUMBS = 25;

const state = {
  models: [],
  images: [], // { file, name, results: Map of model to promise, found: Map of model to result, hidden: Map, url }
  index: -1,
  shown: "a", // the model whose objects are counted and downloaded; "wipe" shows both
  bitmap: null,
  objects: [[], []], // of the current image, a model each
  threshold: 0.3,
  off: new Set(), // classes that are filtered out
  allClasses: [],
};

const element = (tag, { text = "", ...rest } = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), rest);
  if (text !== "") made.textContent = text;
  made.append(...children);
  return made;
};
const current = () => state.images[state.index];
const activeModel = () => (state.shown === "b" ? 1 : 0);
const formatTime = (seconds) => (seconds < 1 ? `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`);

// Colours with equal distances, whatever the number of objects or classes.
function colourOf(index) {
  const hue = (250 + index * 137.508) % 360;
  return `hsl(${hue.toFixed(1)} ${[82, 70, 90][index % 3]}% ${[58, 50, 66][(index >> 1) % 3]}%)`;
}

// ------------------------------------------------------------------------------------------------------------- objects
function prepare(result, hidden) {
  return result.instances.map((instance, index) => {
    let path;
    return {
      ...instance,
      index,
      isHidden: hidden.has(index),
      get path() {
        return (path ??= toPath(traceRings(instance.rle)));
      },
      get colour() {
        return colourOf($("colour-by").value === "class" ? state.allClasses.indexOf(instance.label) : index);
      },
    };
  });
}

const passes = (each) => each.score >= state.threshold && !state.off.has(each.label);
const visible = (model) => state.objects[model].filter((each) => passes(each) && !each.isHidden);

// What is drawn at the left and at the right of the wipe; one layer without it.
function layers() {
  return state.shown === "wipe" ? [visible(0), visible(1)] : [visible(activeModel())];
}

const style = () => ({ opacity: $("opacity").value / 100, outlines: $("outlines").checked });

const viewer = new Viewer($("canvas"), {
  layers,
  style,
  onHover(found, event) {
    $("tip").hidden = !found;
    if (!found) return;
    $("tip").textContent = `${found.label} · ${found.score.toFixed(2)} · ${found.area.toLocaleString("en")} px`;
    const box = $("stage").getBoundingClientRect();
    const left = Math.min(event.clientX - box.left + 14, box.width - $("tip").offsetWidth - 8);
    const top = Math.min(event.clientY - box.top + 16, box.height - $("tip").offsetHeight - 8);
    Object.assign($("tip").style, { left: `${left}px`, top: `${top}px` });
  },
  onClick(found) {
    if (!found) return;
    found.isHidden = true;
    const model = state.objects.findIndex((objects) => objects.includes(found));
    current().hidden.get(state.models[model].name).add(found.index);
    viewer.hover(null);
    update();
  },
});

// --------------------------------------------------------------------------------------------------------------- panel
function update() {
  const model = activeModel();
  const objects = state.objects[model];
  $("count").textContent = layers().map((layer) => layer.length).join(" | ");
  $("threshold-value").textContent = state.threshold.toFixed(2);
  $("opacity-value").textContent = `${$("opacity").value} %`;
  const hidden = state.objects.flat().filter((each) => each.isHidden).length;
  $("hidden-note").hidden = !hidden;
  $("hidden-count").textContent = `${hidden} hidden by click`;
  drawHistogram(objects);
  listClasses(objects);
  showTimes(current()?.found.get(state.models[model]?.name)?.seconds);
  for (const button of $("downloads").children) button.disabled = !viewer.bitmap || !current()?.found.size;
  $("downloads-all").hidden = state.images.length < 2;
  viewer.draw();
}

function drawHistogram(objects) {
  const bins = new Array(BINS).fill(0);
  for (const { score, label } of objects) {
    if (!state.off.has(label)) bins[Math.min(BINS - 1, Math.floor(((score - 0.05) / 0.95) * BINS))]++;
  }
  const most = Math.max(1, ...bins);
  $("histogram").replaceChildren(
    ...bins.map((count, bin) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const height = count ? Math.max(1.5, (24 * count) / most) : 0.5;
      const box = { x: (bin * 95) / BINS, y: 24 - height, width: 95 / BINS - 0.5, height };
      for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
      if (0.05 + ((bin + 1) * 0.95) / BINS > state.threshold) bar.classList.add("on");
      return bar;
    }),
  );
}

function listClasses(objects) {
  const counts = new Map();
  for (const each of objects) {
    if (each.score >= state.threshold && !each.isHidden) counts.set(each.label, (counts.get(each.label) ?? 0) + 1);
  }
  const isPresent = new Set(state.objects.flat().map((each) => each.label));
  // A model of a thousand classes: those of the image are enough.
  const names = state.allClasses.length > 12 ? state.allClasses.filter((name) => isPresent.has(name)) : state.allClasses;
  const rows = names.map((name) => {
    const box = element("input", { type: "checkbox", checked: !state.off.has(name) });
    box.addEventListener("change", () => {
      state.off[box.checked ? "delete" : "add"](name);
      update();
    });
    const swatch = element("i");
    swatch.style.background = $("colour-by").value === "class" ? colourOf(state.allClasses.indexOf(name)) : "var(--line)";
    const number = element("span", { className: "number", text: String(counts.get(name) ?? 0) });
    return element("li", {}, element("label", {}, box, swatch, element("span", { className: "name", text: name, title: name }), number));
  });
  const focused = document.activeElement?.closest?.("#classes label")?.querySelector(".name").textContent;
  $("classes").replaceChildren(...rows);
  if (focused) rows.find((row) => row.querySelector(".name").textContent === focused)?.querySelector("input").focus();
}

function showTimes(seconds) {
  const stages = Object.entries(STAGES).filter(([stage]) => seconds && seconds[stage] !== undefined);
  const total = stages.reduce((sum, [stage]) => sum + seconds[stage], 0);
  $("total").textContent = seconds ? formatTime(total) : "";
  $("bar").replaceChildren(
    ...stages.map(([stage, colour]) => {
      const part = element("i");
      Object.assign(part.style, { flexGrow: String((100 * seconds[stage]) / total), background: colour });
      return part;
    }),
  );
  $("stages").replaceChildren(
    ...stages.flatMap(([stage, colour]) => {
      const swatch = element("i");
      swatch.style.background = colour;
      return [swatch, element("dt", { text: stage }), element("dd", { text: formatTime(seconds[stage]) })];
    }),
  );
}

function setView(shown) {
  state.shown = shown;
  viewer.wipe = shown === "wipe" ? (viewer.wipe ?? 0.5) : null;
  $("wipe").hidden = shown !== "wipe";
  for (const id of ["name-a", "name-b"]) $(id).hidden = shown !== "wipe";
  for (const button of $("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === shown));
  if (shown === "wipe") moveWipe(viewer.wipe);
  update();
}

function moveWipe(share) {
  viewer.wipe = Math.min(1, Math.max(0, share));
  $("wipe").style.left = `${100 * viewer.wipe}%`;
  $("wipe").setAttribute("aria-valuenow", String(Math.round(100 * viewer.wipe)));
  viewer.draw();
}

// -------------------------------------------------------------------------------------------------------------- images
function addFiles(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/") || IMAGE_NAME.test(file.name));
  const skipped = files.length - images.length;
  $("note").textContent = skipped ? `${skipped} files are no images and were left out` : "";
  if (!images.length) return;
  const first = state.images.length;
  for (const file of images) {
    const hidden = new Map(state.models.map(({ name }) => [name, new Set()]));
    state.images.push({ file, name: file.name, results: new Map(), found: new Map(), hidden, url: null });
  }
  show(first);
}

// Ask for the objects of an image by a model, once; a failed request may be made again.
function ask(image, model) {
  if (!image.results.has(model)) {
    const asked = predict(image.file, model).then((result) => {
      image.found.set(model, result);
      return result;
    });
    asked.catch(() => image.results.delete(model));
    image.results.set(model, asked);
  }
  return image.results.get(model);
}

async function show(index) {
  const image = state.images[index];
  if (!image) return;
  state.index = index;
  state.objects = [[], []];
  $("empty").hidden = true;
  $("problem").hidden = true;
  $("busy").hidden = image.found.size === state.models.length;
  listThumbs();
  update();
  const isCurrent = () => current() === image;
  const picture = loadBitmap(image.file).then((bitmap) => (isCurrent() ? viewer.show(bitmap, { keepView: true }) : bitmap.close()));
  const answers = state.models.map(async ({ name }, model) => {
    const result = await ask(image, name);
    if (!isCurrent()) return;
    state.objects[model] = prepare(result, image.hidden.get(name));
    await picture;
    if (isCurrent()) update();
  });
  const outcomes = await Promise.allSettled([picture, ...answers]);
  if (!isCurrent()) return;
  await fixSize(image);
  $("busy").hidden = true;
  const failed = outcomes.findLast(({ status }) => status === "rejected");
  if (failed) fail(failed.reason, { withoutImage: outcomes[0].status === "rejected" });
  listThumbs();
  update();
  // The next image is asked for while this one is looked at.
  const next = state.images[index + 1];
  if (next) for (const { name } of state.models) ask(next, name).catch(() => {});
}

// Browsers and the server may read an image differently (its orientation): then the server's image is shown.
async function fixSize(image) {
  const [result] = image.found.values();
  if (!result || !viewer.bitmap) return;
  if (viewer.bitmap.width === result.width && viewer.bitmap.height === result.height) return;
  const bitmap = await loadBitmap(image.file, result);
  if (current() === image) viewer.show(bitmap);
}

function fail(error, { withoutImage = false } = {}) {
  if (withoutImage) viewer.show(null);
  $("problem").textContent = error.message;
  $("problem").hidden = false;
}

function listThumbs() {
  $("strip").hidden = state.images.length < 2;
  if (state.images.length < 2) return;
  $("position").textContent = `${state.index + 1} / ${state.images.length}`;
  $("previous").disabled = state.index === 0;
  $("next").disabled = state.index === state.images.length - 1;
  const count = Math.min(state.images.length, THUMBS, Math.max(3, Math.floor(($("strip").clientWidth - 180) / 64) | 1));
  const from = Math.max(0, Math.min(state.index - (count >> 1), state.images.length - count));
  const items = state.images.slice(from, from + count).map((image, offset) => {
    image.url ??= URL.createObjectURL(image.file);
    const picture = element("img", { src: image.url, alt: image.name, loading: "lazy" });
    picture.addEventListener("error", () => picture.replaceWith(image.name));
    const button = element("button", { title: image.name }, picture);
    button.setAttribute("aria-current", String(from + offset === state.index));
    button.addEventListener("click", () => show(from + offset));
    return element("li", { className: image.found.size === state.models.length ? "done" : "" }, button);
  });
  $("thumbs").replaceChildren(...items);
}

async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) return files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!part.length) return null;
      for (const child of part) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return files.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
}

// ----------------------------------------------------------------------------------------------------------- downloads
// What is shown of an image by the active model: its objects after threshold, classes and clicks.
function entryOf(image) {
  const { name } = state.models[activeModel()];
  const result = image.found.get(name);
  const hidden = image.hidden.get(name);
  const instances = result.instances.filter((each, index) => passes(each) && !hidden.has(index));
  return { name: image.name, width: result.width, height: result.height, instances };
}

// The entries of all images; those that were not looked at are predicted first.
async function allEntries() {
  const { name } = state.models[activeModel()];
  const entries = [];
  let failed = 0;
  for (const [index, image] of state.images.entries()) {
    $("note").textContent = `predicting ${index + 1} of ${state.images.length}`;
    try {
      await ask(image, name);
      entries.push(entryOf(image));
    } catch {
      failed++;
    }
  }
  listThumbs();
  $("note").textContent = `${entries.length} images written${failed ? `; ${failed} could not be predicted` : ""}`;
  return entries;
}

const holesNote = (holes) => (holes ? `polygons of labelme have no holes: ${holes} were filled` : "");

const DOWNLOADS = {
  async png() {
    save(`${stemOf(current().name)}_solo.png`, await toPng(viewer.bitmap, layers(), style(), viewer.wipeBorder()));
  },
  coco() {
    save(`${stemOf(current().name)}_coco.json`, toCoco([entryOf(current())], state.models[activeModel()].classes));
  },
  labelme() {
    const { text, holes } = toLabelme(entryOf(current()));
    save(`${stemOf(current().name)}.json`, text);
    $("note").textContent = holesNote(holes);
  },
  async cutouts() {
    const objects = visible(activeModel());
    save(`${stemOf(current().name)}_cutouts.zip`, await toCutouts(viewer.bitmap, objects, safeName(current().name)));
  },
  async "coco-all"() {
    save("coco.json", toCoco(await allEntries(), state.models[activeModel()].classes));
  },
  async "labelme-all"() {
    const encoder = new TextEncoder();
    let filled = 0;
    const files = (await allEntries()).map((entry) => {
      const { text, holes } = toLabelme(entry);
      filled += holes;
      return [`${safeName(stemOf(entry.name))}.json`, encoder.encode(text)];
    });
    save("labelme.zip", toZip(files));
    if (filled) $("note").textContent += `; ${holesNote(filled)}`;
  },
};

// -------------------------------------------------------------------------------------------------------------- camera
async function openCamera() {
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("camera").showModal();
  } catch (error) {
    const reason = navigator.mediaDevices ? error.message : "browsers allow it on https and on this machine alone";
    fail(new Error(`the camera cannot be used: ${reason}`));
  }
}

async function takePicture() {
  const { videoWidth: width, videoHeight: height } = $("video");
  if (!width) return;
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  $("camera").close();
  const number = state.images.filter(({ name }) => /^camera-\d+\.png$/.test(name)).length + 1;
  addFiles([new File([blob], `camera-${number}.png`, { type: "image/png" })]);
}

$("camera").addEventListener("close", () => {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
});

// ------------------------------------------------------------------------------------------------------------ controls
const KEYS = {
  ArrowLeft: () => show(state.index - 1),
  ArrowRight: () => show(state.index + 1),
  0: () => viewer.fit(),
  "+": () => viewer.zoom(1.25),
  "=": () => viewer.zoom(1.25),
  "-": () => viewer.zoom(0.8),
};

function listen() {
  const on = (id, name, act) => $(id).addEventListener(name, act);
  for (const kind of ["images", "folder"]) {
    on(`open-${kind}`, "click", () => $(`pick-${kind}`).click());
    on(`pick-${kind}`, "change", (event) => {
      addFiles([...event.target.files]);
      event.target.value = "";
    });
  }
  on("open-camera", "click", openCamera);
  on("snapshot", "click", takePicture);
  on("close-camera", "click", () => $("camera").close());
  on("previous", "click", () => show(state.index - 1));
  on("next", "click", () => show(state.index + 1));
  on("threshold", "input", (event) => {
    state.threshold = Number(event.target.value);
    update();
  });
  for (const id of ["opacity", "outlines", "colour-by"]) on(id, "input", update);
  on("all-classes", "click", () => (state.off.clear(), update()));
  on("no-classes", "click", () => ((state.off = new Set(state.allClasses)), update()));
  on("show-all", "click", () => {
    for (const hidden of current().hidden.values()) hidden.clear();
    for (const each of state.objects.flat()) each.isHidden = false;
    update();
  });
  for (const button of document.querySelectorAll("[data-what]")) {
    button.addEventListener("click", () => Promise.resolve(DOWNLOADS[button.dataset.what]()).catch(fail));
  }
  on("theme", "click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
  });
  document.addEventListener("keydown", (event) => {
    const isTaken = event.target.matches?.("input, select, [role=slider]") || event.ctrlKey || event.metaKey || event.altKey;
    if (isTaken || $("camera").open || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  listenToWipe();
  listenToDrops();
}

function listenToWipe() {
  const wipe = $("wipe");
  wipe.addEventListener("pointerdown", (event) => wipe.setPointerCapture(event.pointerId));
  wipe.addEventListener("pointermove", (event) => {
    const box = $("stage").getBoundingClientRect();
    if (wipe.hasPointerCapture(event.pointerId)) moveWipe((event.clientX - box.left) / box.width);
  });
  wipe.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (step) moveWipe(viewer.wipe + step);
  });
}

function listenToDrops() {
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    $("stage").classList.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(-depth);
    addFiles(await filesOf(event.dataTransfer));
  });
}

async function start() {
  const metadata = await fetchMetadata();
  state.models = metadata.models;
  state.allClasses = [...new Set(metadata.models.flatMap(({ classes }) => classes))];
  $("models").textContent = metadata.models.map(({ name, classes }) => `${name} (${classes.length} ${classes.length === 1 ? "class" : "classes"})`).join(" and ");
  $("colour-by").value = state.allClasses.length > 1 ? "class" : "instance";
  if (metadata.models.length > 1) {
    const [a, b] = metadata.models;
    $("compare").hidden = false;
    $("name-a").textContent = a.name;
    $("name-b").textContent = b.name;
    const views = { a: a.name, wipe: "wipe", b: b.name };
    $("views").replaceChildren(
      ...Object.entries(views).map(([view, text]) => {
        const button = element("button", { text, title: text });
        button.dataset.view = view;
        button.addEventListener("click", () => setView(view));
        return button;
      }),
    );
    $("classes-differ").hidden = new Set(a.classes).size === state.allClasses.length && new Set(b.classes).size === state.allClasses.length;
    setView("wipe");
  }
  listen();
  update();
  document.documentElement.dataset.ready = "true";
}

start().catch(fail);
