// Where the bytes of the repository are.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { bytes, number, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { address } from "../../core/router.js";
import { Table } from "../../parts/table.js";

const NAMES = { state: "states", tree: "trees", array: "arrays", value: "values", blob: "files", binding: "attachments", run: "runs", spec: "environments", schema: "schemas", tag: "tags" };
const BY = { kinds: "kind", columns: "field", attachments: "attachment", runs: "run" };
const DRAWN = 6;

/** The bar and the table of bytes. */
export function Storage() {
  const found = useLoad((signal) => get("stats", "", {}, { signal }), []);
  const [by, setBy] = useState("kinds");
  if (found.error) return html`<p class="error" role="alert">${plain(found.error.message)}</p>`;
  if (!found.data) return html`<p class="empty" role="status">reading …</p>`;
  const { size, spare, kinds, total } = found.data;
  const sorted = Object.entries(kinds).sort(([, a], [, b]) => b.stored - a.stored);
  const shown = sorted.slice(0, DRAWN).map(([name, each]) => ({ name: NAMES[name] ?? name, value: each.stored }));
  const rest = sorted.slice(DRAWN).reduce((sum, [, each]) => sum + each.stored, 0);
  const parts = [...shown, { name: "other kinds", value: rest }, { name: "indexes and logs", value: Math.max(0, size - spare - total.stored) }, { name: "free", value: spare }]
    .filter((part) => part.value > 0);
  const rows = Object.entries(found.data[by]).map(([name, each]) => ({ name, ...each })).sort((a, b) => b.stored - a.stored);
  return html`<p><b>${bytes(size)}</b> on disk</p>
    <${Bar} parts=${parts} whole=${size} />
    <div class="tools"><label>bytes by <select value=${by} onchange=${(event) => setBy(event.target.value)}>
      ${Object.entries(BY).map(([name, text]) => html`<option value=${name}>${text}</option>`)}</select></label>
      <span class="muted">${by === "runs" ? "Runs share states: own bytes are those that no other run has." : "Stored is after compression; equal values are stored once."}</span></div>
    <${Table} label=${`Bytes by ${BY[by]}`} rows=${rows} rowKey=${(row) => row.name} empty=${`There is no ${BY[by]}.`} columns=${by === "runs" ? RUNS : COLUMNS(BY[by])} />`;
}

/** A bar whose parts are in proportion, and their bytes below it. */
function Bar({ parts, whole }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => {
    [...(box.current?.children ?? [])].forEach((element, index) => {
      /** @type {HTMLElement} */ (element).style.flexGrow = String(parts[index].value / whole);
    });
  });
  return html`<div class="bytes" ref=${box} role="img" aria-label=${parts.map((part) => `${part.name} ${Math.round((100 * part.value) / whole)} %`).join(", ")}>
    ${parts.map((part, index) => html`<span key=${part.name} title=${`${part.name}: ${bytes(part.value)}`} class=${part.name === "free" ? "free" : `curve-${index % 10}`}></span>`)}</div>
    <ul class="legend" aria-label="Parts">${parts.map((part, index) => html`<li key=${part.name}><span aria-hidden="true" class=${`swatch ${part.name === "free" ? "free" : `curve-${index % 10}`}`}></span>${part.name} <b>${bytes(part.value)}</b></li>`)}</ul>`;
}

const size = (key, title) => ({ key, title, isNumber: true, width: "8rem", draw: (row) => bytes(row[key]) });
const COLUMNS = (title) => [
  { key: "name", title, width: "minmax(8rem, 2fr)", draw: (row) => plain(NAMES[row.name] ?? row.name) },
  { key: "count", title: "count", isNumber: true, width: "7rem", draw: (row) => number(row.count) },
  size("logical", "as recorded"), size("raw", "without repeats"), size("stored", "stored"),
  { key: "ratio", title: "ratio", isNumber: true, width: "6rem", draw: (row) => (row.stored ? `${number(row.logical / row.stored, 3)} ×` : "–") },
];
const RUNS = [
  { key: "name", title: "run", width: "minmax(8rem, 2fr)", draw: (row) => html`<a href=${address("run", row.name)} tabindex="-1">${plain(row.name)}</a>` },
  { key: "states", title: "states", isNumber: true, width: "7rem", draw: (row) => number(row.states) },
  { key: "own", title: "own states", isNumber: true, width: "7rem", draw: (row) => number(row.own) },
  size("stored", "stored"), size("own_stored", "own bytes"),
];
