// The reference of the API, drawn from its own description.
import { html, useMemo } from "../vendor/preact.js";
import { get } from "../core/api.js";
import { plain, plural } from "../core/format.js";
import { useLoad } from "../core/load.js";
import { place, setQuery } from "../core/router.js";
import { useStore } from "../core/store.js";
import { Operation, typeOf } from "./reference/operation.js";

const METHODS = ["get", "put", "post", "patch", "delete"];

/** The screen of the API; what is searched and what is open are part of the address. */
export function Screen() {
  const { query } = useStore(place);
  const found = useLoad((signal) => get("openapi.json", "", {}, { signal }), []);
  const all = useMemo(() => (found.data ? operations(found.data) : []), [found.data]);
  const wanted = (query.find ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const shown = all.filter((each) => wanted.every((word) => each.text.includes(word)));
  const tags = [...new Set(shown.map((each) => each.tag))];
  if (found.error) return html`<p class="error" role="alert">${plain(found.error.message)}</p>`;
  if (!found.data) return html`<p class="empty" role="status">reading …</p>`;
  return html`<div class="reference">
    <div class="tools"><h1>HTTP API</h1><span class="muted">version ${plain(found.data.info.version)}</span>
      <input type="search" aria-label="Search the operations" placeholder="search: path, parameter, text" value=${query.find ?? ""} size="30"
        oninput=${(event) => setQuery({ find: event.target.value || null })} />
      <span class="muted" role="status">${plural(shown.length, "operation")}</span><span class="spread"></span>
      <a href="/v1/openapi.json">openapi.json</a></div>
    <p class="muted">Programs send <code>Authorization: Bearer TOKEN</code>; this page has a cookie. Errors are problems (RFC 9457).</p>
    ${tags.map((tag) => html`<section key=${tag} aria-label=${tag}><h2 class="heading">${plain(tag)}</h2>
      ${shown.filter((each) => each.tag === tag).map((each) => html`<${Operation} key=${each.id} operation=${each} isOpen=${query.op === each.id}
        onToggle=${(isOpen) => (isOpen || query.op === each.id) && setQuery({ op: isOpen ? each.id : null })} />`)}</section>`)}
    ${!shown.length && html`<p class="empty">No operation has these words.</p>`}
  </div>`;
}

/** Return the operations of a description, with the fields of their bodies. */
function operations(document) {
  return Object.entries(document.paths).flatMap(([path, methods]) => METHODS.filter((method) => methods[method]).map((method) => {
    const given = methods[method];
    const content = Object.entries(given.requestBody?.content ?? {});
    const schema = resolved(document, content.find(([media]) => media === "application/json")?.[1].schema);
    return {
      id: `${method}-${path.replace(/[^a-z]+/g, "-").replace(/^-v-|-$/g, "")}`, method: method.toUpperCase(), path, tag: given.tags?.[0] ?? "other",
      description: given.description ?? given.summary ?? "", parameters: given.parameters ?? [], media: content.map(([name]) => name),
      fields: Object.entries(schema?.properties ?? {}).map(([name, each]) => ({ name, type: typeOf(resolved(document, each)), isRequired: schema.required?.includes(name) ?? false, ...each })),
      text: [method, path, given.tags?.[0], given.description, ...(given.parameters ?? []).map((each) => each.name), ...Object.keys(schema?.properties ?? {})].join(" ").toLowerCase(),
    };
  }));
}

function resolved(document, schema) {
  const name = schema?.$ref?.split("/").pop();
  if (name) return document.components.schemas[name];
  const one = schema?.anyOf?.filter((each) => each.type !== "null") ?? [];
  return one.length === 1 ? resolved(document, one[0]) : schema;
}
