// The server's routes, as any other client uses them.

const BUSY_RETRIES = 60;

export async function fetchMetadata() {
  const answer = await fetch("/metadata");
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return answer.json();
}

async function post(path, file) {
  const form = new FormData();
  form.append("image", file, file.name);
  for (let attempt = 0; ; attempt++) {
    let answer;
    try {
      answer = await fetch(path, { method: "POST", body: form });
    } catch {
      throw new Error("the server cannot be reached");
    }
    if (answer.ok) return answer;
    if (answer.status !== 503 || attempt >= BUSY_RETRIES) throw new Error(await problemOf(answer));
    const seconds = Number(answer.headers.get("Retry-After")) || 1;
    await new Promise((resume) => setTimeout(resume, 1000 * seconds));
  }
}

async function problemOf(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return `the server answers ${answer.status}`;
  }
}

// { width, height, instances, seconds }; seconds by stage, with what sending both ways took.
export async function predict(file, model) {
  const start = performance.now();
  const answer = await post(`/predict?format=rle&model=${encodeURIComponent(model)}`, file);
  const { image, instances, seconds } = await answer.json();
  const server = Object.values(seconds).reduce((sum, value) => sum + value, 0);
  seconds.send = Math.max(0, (performance.now() - start) / 1000 - server);
  return { width: image.width, height: image.height, instances, seconds };
}

// The image as the browser shows it; the server decodes formats that the browser does not know.
export async function loadBitmap(file, size) {
  try {
    const bitmap = await createImageBitmap(file);
    if (!size || (bitmap.width === size.width && bitmap.height === size.height)) return bitmap;
    bitmap.close();
  } catch {
    // Not a format of browsers.
  }
  return createImageBitmap(await (await post("/preview", file)).blob());
}
