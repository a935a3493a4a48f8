// The settings of a run and what is known of how it was made.
import { html, useState } from "../../vendor/preact.js";
import { ago, json, plain } from "../../core/format.js";
import { Value } from "./values.js";

/** Return settings as rows of dotted names. @param {any} value @returns {[string, any][]} */
export function flat(value, before = "") {
  if (!value || typeof value !== "object" || Array.isArray(value) || Object.keys(value).some((key) => key.startsWith("$"))) return before ? [[before, value]] : [];
  const members = Object.entries(value);
  if (!members.length) return before ? [[before, value]] : [];
  return members.flatMap(([key, each]) => flat(each, before ? `${before}.${key}` : key));
}

/** @param {{run: any}} props */
export function Panel({ run }) {
  const [own, setOwn] = useState(false);
  const mine = new Set(flat(run.overrides).map(([key]) => key));
  const rows = flat(own ? run.overrides : run.config);
  const { provenance, ...metadata } = run.metadata ?? {};
  const facts = [
    ["seed", run.seed ?? "–"], ["status", run.status], ["created", html`<time datetime=${run.created} title=${run.created}>${ago(run.created)}</time>`],
    ...(run.ended ? [["ended", html`<time datetime=${run.ended} title=${run.ended}>${ago(run.ended)}</time>`]] : []),
    ...(run.parent ? [["branched off", run.parent]] : []),
  ];
  return html`<div class="grid">
    <section class="panel" aria-label="Settings"><header class="tools"><h2>Settings</h2><span class="spread"></span>
        <label><input type="checkbox" checked=${own} onchange=${(event) => setOwn(event.target.checked)} /> only its own</label></header>
      ${rows.length ? html`<table class="settings"><tbody>${rows.map(([key, value]) => html`<tr key=${key}><th scope="row">${plain(key)}</th><td>${json(value)}</td>
        <td class="muted">${!own && mine.has(key) ? "own" : ""}</td></tr>`)}</tbody></table>`
        : html`<p class="empty">${own && flat(run.config).length ? "It has the settings of the run that it was branched off." : "No settings were recorded."}</p>`}
    </section>
    <section class="panel" aria-label="Facts"><h2>Facts</h2>
      <dl class="facts">${facts.map(([key, value]) => html`<dt key=${key}>${key}</dt><dd>${typeof value === "string" || typeof value === "number" ? plain(value) : value}</dd>`)}</dl></section>
    ${Object.keys(metadata).length > 0 && html`<section class="panel" aria-label="Metadata"><h2>Metadata</h2><div class="values">${Object.entries(metadata).map(([key, value]) => html`<${Value} key=${key} name=${key} value=${value} depth=${1} />`)}</div></section>`}
    ${provenance && html`<section class="panel" aria-label="Provenance"><h2>Provenance</h2><div class="values">${Object.entries(provenance).map(([key, value]) => html`<${Value} key=${key} name=${key} value=${value} depth=${1} />`)}</div></section>`}
  </div>`;
}
