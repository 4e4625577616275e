// Renders /openapi.json. All text goes through textContent: nothing of it is read as HTML.

const description = await (await fetch("/openapi.json")).json();

function element(tag, text = "", ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function typeOf(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  if (schema.additionalProperties?.type) return `object of ${schema.additionalProperties.type}s`;
  return schema.format === "binary" ? "file" : schema.type ?? "any";
}

function table(head, rows) {
  const cells = (tag, values) => element("tr", "", ...values.map((value) => element(tag, String(value ?? ""))));
  return element("table", "", cells("th", head), ...rows.map((row) => cells("td", row)));
}

function curl(method, path, operation) {
  const url = `${location.origin}${path}`;
  return operation.requestBody?.content["multipart/form-data"] ? `curl -F image=@photo.jpg ${url}` : `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${url}`;
}

function route(path, method, operation) {
  const title = element("h3", "", Object.assign(element("code", method.toUpperCase()), { className: "method" }), element("code", path));
  const card = element("section", "", title, element("div", operation.description));
  card.className = "card";
  if (operation.parameters) {
    const rows = operation.parameters.map((each) => [each.name, typeOf(each.schema), each.schema.default ?? "", each.description]);
    card.append(table(["parameter", "type", "default", ""], rows));
  }
  const answers = Object.entries(operation.responses).map(([code, answer]) => {
    const kinds = Object.entries(answer.content ?? {}).map(([kind, value]) => (value.schema ? typeOf(value.schema) : kind));
    return [code, [...new Set(kinds)].join(", "), answer.description];
  });
  card.append(table(["status", "answer", ""], answers), element("pre", curl(method, path, operation)));
  return card;
}

document.getElementById("about").textContent = `${description.info.description} Version ${description.info.version}.`;
for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, operation] of Object.entries(methods)) document.getElementById("routes").append(route(path, method, operation));
}
for (const [name, schema] of Object.entries(description.components.schemas)) {
  if (!schema.properties || name.includes("ValidationError")) continue;
  const rows = Object.entries(schema.properties).map(([key, value]) => [key, typeOf(value), value.description]);
  const card = element("section", "", element("h3", name), element("div", schema.description), table(["key", "type", ""], rows));
  card.className = "card";
  document.getElementById("schemas").append(card);
}
