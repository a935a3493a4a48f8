// One operation of the API: its parameters and body, and a form that sends it where it only reads.
import { html, useState } from "../../vendor/preact.js";
import { send } from "../../core/api.js";
import { bytes, plain, quoted } from "../../core/format.js";

const LONGEST = 20_000;
const STREAMS = new Set(["/v1/events"]); // they do not end

/** @param {{operation: any, isOpen: boolean, onToggle: (isOpen: boolean) => void}} props */
export function Operation({ operation, isOpen, onToggle }) {
  const { method, path, description, parameters, fields, media } = operation;
  const [first, ...rest] = description.split("\n\n");
  return html`<details class="operation" open=${isOpen} ontoggle=${(event) => event.target.open !== isOpen && onToggle(event.target.open)}>
    <summary><b class=${`method ${method.toLowerCase()}`}>${method}</b> <code>${plain(path)}</code> <span class="muted">${plain(first)}</span></summary>
    ${isOpen && html`<div class="panel">
      ${rest.map((text) => html`<p>${plain(text)}</p>`)}
      ${parameters.length > 0 && html`<table><caption>Parameters</caption><thead><tr><th scope="col">name</th><th scope="col">in</th><th scope="col">type</th><th scope="col">meaning</th></tr></thead>
        <tbody>${parameters.map((each) => html`<tr key=${each.in + each.name}><td><code>${plain(each.name)}</code>${each.required ? html` <span class="muted">required</span>` : null}</td><td>${each.in}</td>
          <td>${typeOf(each.schema)}</td><td>${plain(each.description ?? each.schema?.description ?? "")}${defaultOf(each.schema)}</td></tr>`)}</tbody></table>`}
      ${fields.length > 0 && html`<table><caption>Body, as JSON</caption><thead><tr><th scope="col">name</th><th scope="col">type</th><th scope="col">meaning</th></tr></thead>
        <tbody>${fields.map((each) => html`<tr key=${each.name}><td><code>${plain(each.name)}</code>${each.isRequired ? html` <span class="muted">required</span>` : null}</td>
          <td>${each.type}</td><td>${plain(each.description ?? "")}${defaultOf(each)}</td></tr>`)}</tbody></table>`}
      ${!fields.length && media.length > 0 && html`<p>Body: ${media.map((name) => html`<code>${name}</code> `)}</p>`}
      ${method === "GET" && !STREAMS.has(path) ? html`<${Try} path=${path} parameters=${parameters} />`
        : html`<pre>${curl(method, path, fields.length > 0)}</pre>`}
    </div>`}
  </details>`;
}

const defaultOf = (schema) => (schema?.default === undefined || schema.default === null ? "" : html` <span class="muted">default ${JSON.stringify(schema.default)}</span>`);

/** Return the line that asks the same in a terminal. */
function curl(method, to, hasBody = false) {
  const body = hasBody ? " -H 'Content-Type: application/json' -d '{…}'" : "";
  return `curl${method === "GET" ? "" : ` -X ${method}`} -H "Authorization: Bearer $TOKEN"${body} ${quoted(location.origin + to)}`;
}

/** A form of the parameters, and the answer. */
function Try({ path, parameters }) {
  const [values, setValues] = useState(/** @type {Record<string, string>} */ ({}));
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const inPath = parameters.filter((each) => each.in === "path");
  const inQuery = parameters.filter((each) => each.in === "query");
  const filled = inPath.reduce((text, each) => text.replace(`{${each.name}}`, (values[each.name] ?? "").split("/").map(encodeURIComponent).join("/")), path);
  const pairs = inQuery.flatMap((each) => (values[each.name] ? (each.schema?.type === "array" || each.schema?.anyOf?.some((one) => one.type === "array") ? values[each.name].split(";") : [values[each.name]]).map((value) => [each.name, value.trim()]) : []));
  const to = pairs.length ? `${filled}?${new URLSearchParams(pairs)}` : filled;
  async function ask(event) {
    event.preventDefault();
    setAnswer({ isWaiting: true });
    const begun = performance.now();
    try {
      const response = await send("GET", to, { as: "response" });
      const type = response.headers.get("content-type") ?? "";
      const data = await response.blob();
      const isText = /json|text|ndjson/.test(type);
      const text = isText ? indented(await data.text()) : "";
      setAnswer({ line: `${response.status} ${type}, ${bytes(data.size)}, ${Math.round(performance.now() - begun)} ms`, text: isText ? text : "It is no text: use the line above." });
    } catch (error) {
      setAnswer({ line: `${error.status ?? ""} ${error.record?.type ?? ""}`, text: error.record ? JSON.stringify(error.record, null, 1) : error.message, isError: true });
    }
  }
  return html`<form class="try" aria-label=${`Try GET ${path}`} onsubmit=${ask}>
    <div class="tools">${[...inPath, ...inQuery].map((each) => html`<label key=${each.name}>${plain(each.name)} <input name=${each.name} required=${each.required} value=${values[each.name] ?? ""}
        placeholder=${each.schema?.default ?? ""} size="14" oninput=${(event) => setValues({ ...values, [each.name]: event.target.value })} /></label>`)}
      <button>Try it</button></div>
    <pre>${plain(curl("GET", to))}</pre>
    ${answer && html`<div role="status">${answer.isWaiting ? "asking …" : html`<b class=${answer.isError ? "bad" : ""}>${plain(answer.line)}</b>`}</div>
      ${answer.text !== undefined && html`<pre class="answer" tabindex="0" role="region" aria-label="Answer">${plain(answer.text.slice(0, LONGEST))}${answer.text.length > LONGEST ? "\n… it is longer" : ""}</pre>`}`}
  </form>`;
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text; // lines of JSON, or a text
  }
}

/** Return the type of a value in words. */
export function typeOf(schema) {
  if (!schema) return "";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).filter((each) => each !== "null").join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items) || "values"}`;
  return schema.type ?? "value";
}
