// Renders /openapi.json. Nothing is loaded from elsewhere, and all text goes in
// as text, never as markup.
"use strict";

const methods = ["get", "post", "put", "patch", "delete"];

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) e.setAttribute(name, value);
  for (const child of children) if (child !== undefined && child !== null) e.append(child);
  return e;
}

// resolve follows a reference into the components: "#/components/KIND/NAME".
function resolve(doc, part) {
  while (part && part.$ref) {
    const [kind, name] = part.$ref.split("/").slice(-2);
    part = doc.components[kind][name];
  }
  return part || {};
}

function typeName(doc, schema) {
  if (!schema) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map((s) => typeName(doc, s)).join(" or ");
  const types = [].concat(schema.type || "any");
  if (types[0] === "array") types[0] = typeName(doc, schema.items) + "[]";
  let name = types.join(" or ");
  if (schema.format) name += " (" + schema.format + ")";
  if (schema.enum) name = schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  return name;
}

// example builds a value that fits a schema; depth ends what refers to itself.
function example(doc, schema, depth) {
  if (schema && schema.examples) return schema.examples[0];
  const s = resolve(doc, schema);
  if (s.examples) return s.examples[0];
  if (s.enum) return s.enum[0];
  if (s.anyOf) return example(doc, s.anyOf[0], depth);
  switch ([].concat(s.type)[0]) {
    case "object": {
      const out = {};
      if (depth > 0) for (const [name, p] of Object.entries(s.properties || {})) out[name] = example(doc, p, depth - 1);
      return out;
    }
    case "array": return depth > 0 ? [example(doc, s.items, depth - 1)] : [];
    case "integer": case "number": return s.minimum || 0;
    case "boolean": return false;
    case "string": return s.format === "date-time" ? "2019-06-14T08:07:44.789Z" : "…";
    default: return null;
  }
}

function fields(doc, schema) {
  const s = resolve(doc, schema);
  const target = s.type === "array" ? resolve(doc, s.items) : s;
  const names = Object.keys(target.properties || {});
  if (!names.length) return null;
  const required = new Set(target.required || []);
  return el("table", {}, el("tr", {}, el("th", {}, "Field"), el("th", {}, "Type"), el("th", {}, "")),
    ...names.map((name) => {
      const p = target.properties[name];
      return el("tr", {},
        el("td", {}, el("code", {}, name), required.has(name) ? " *" : ""),
        el("td", {}, el("code", {}, typeName(doc, p))),
        el("td", {}, p.description || ""));
    }));
}

function body(doc, title, content) {
  const media = Object.keys(content || {});
  if (!media.length) return null;
  const schema = content[media[0]].schema;
  return el("div", {},
    el("h4", {}, title, " ", el("span", { class: "dim" }, media.join(" · "))),
    fields(doc, schema),
    el("details", {}, el("summary", {}, "Example"),
      el("pre", {}, JSON.stringify(example(doc, schema, 3), null, 2))));
}

function operation(doc, method, path, op) {
  const out = el("section", { id: op.operationId },
    el("h3", {}, op.summary || op.operationId),
    el("p", { class: "path" }, el("code", {}, el("span", { class: "method " + method }, method.toUpperCase()), path)),
    op.description ? el("p", {}, op.description) : null);
  const parameters = (op.parameters || []).map((p) => resolve(doc, p));
  if (parameters.length) {
    out.append(el("h4", {}, "Parameters"),
      el("table", {}, el("tr", {}, el("th", {}, "Name"), el("th", {}, "In"), el("th", {}, "Type"), el("th", {}, "")),
        ...parameters.map((p) => el("tr", {},
          el("td", {}, el("code", {}, p.name), p.required ? " *" : ""),
          el("td", {}, p.in),
          el("td", {}, el("code", {}, typeName(doc, p.schema))),
          el("td", {}, p.description || "")))));
  }
  if (op.requestBody) out.append(body(doc, "Body", op.requestBody.content));
  for (const [status, r] of Object.entries(op.responses || {})) {
    if (status >= "400") continue;
    out.append(body(doc, "Answer " + status, resolve(doc, r).content) || el("h4", {}, "Answer " + status));
  }
  const faults = Object.keys(op.responses || {}).filter((status) => status >= "400");
  if (faults.length) out.append(el("p", { class: "dim" }, "Problems: " + faults.join(", ")));
  return out;
}

function render(doc) {
  const nav = document.getElementById("nav");
  const main = document.getElementById("main");
  main.replaceChildren(
    el("h1", {}, doc.info.title + " API " + doc.info.version),
    el("p", {}, doc.info.description || ""),
    el("p", {}, el("a", { href: "/openapi.json" }, "openapi.json")));
  for (const tag of doc.tags || []) {
    nav.append(el("h2", {}, tag.name));
    main.append(el("h2", {}, tag.name), el("p", {}, tag.description || ""));
    for (const [path, item] of Object.entries(doc.paths)) {
      for (const method of methods) {
        const op = item[method];
        if (!op || !(op.tags || []).includes(tag.name)) continue;
        nav.append(el("a", { href: "#" + op.operationId }, op.summary || op.operationId));
        main.append(operation(doc, method, path, op));
      }
    }
  }
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch("/openapi.json")
  .then((r) => (r.ok ? r.json() : Promise.reject(new Error("status " + r.status))))
  .then(render)
  .catch((err) => document.getElementById("main").replaceChildren("The description cannot be loaded: " + err.message));
