// Tags, what a ref was before, and what no ref leads to.
import { html } from "../../vendor/preact.js";
import { get, send, session, url } from "../../core/api.js";
import { ago, command, plain, plural } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { address, place, setQuery } from "../../core/router.js";
import { runs } from "../../core/runs.js";
import { Store, useStore } from "../../core/store.js";
import { confirm } from "../../parts/dialog.js";
import { attempt } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";

const MOST = 1000;
const again = new Store(0);
const look = () => again.set((count) => count + 1);
const state = (oid) => (oid ? html`<a class="mono" href=${address("run", oid)} tabindex="-1" title=${oid}>${oid.slice(0, 8)}</a>` : "–");

/** The tags, and a form for a new one. */
export function Tags() {
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const time = useStore(again);
  const found = useLoad((signal) => get("tags", "", {}, { signal }), [time]);
  async function make(event) {
    event.preventDefault();
    const form = event.target;
    const { name, at, message } = Object.fromEntries(new FormData(form));
    const line = command("tag", name, at, ...(message ? ["-m", message] : []));
    const done = await attempt(() => send("PUT", url("tags", String(name)), { body: { at, ...(message ? { message } : {}) } }), `tagged: ${name}`, line);
    if (!done) return;
    form.reset();
    look();
  }
  async function remove(name) {
    if (!(await confirm(`Delete the tag ${plain(name)}?`, "Its state is kept until gc, and undo brings the tag back.", "Delete"))) return;
    await attempt(() => send("DELETE", url("tags", name)), `deleted the tag ${name}`, command("tag", "-d", name));
    look();
  }
  return html`${mayWrite && html`<form class="tools" aria-label="New tag" onsubmit=${make}>
      <label>tag <input name="name" required placeholder="v1" size="14" /></label>
      <label>at <input name="at" required placeholder="main@200" size="16" /></label>
      <label>message <input name="message" placeholder="none" size="28" /></label>
      <button class="main">Create</button></form>`}
    ${found.error && html`<p class="error" role="alert">${plain(found.error.message)}</p>`}
    <${Table} label="Tags" rows=${found.data ?? []} rowKey=${(row) => row.name} empty=${found.data ? "There are no tags." : "reading …"} columns=${[
      { key: "name", title: "tag", width: "minmax(8rem, 1fr)", draw: (row) => plain(row.name) },
      { key: "oid", title: "state", width: "7rem", draw: (row) => state(row.oid) },
      { key: "message", title: "message", width: "minmax(8rem, 3fr)", draw: (row) => plain(row.message ?? "") },
      { key: "time", title: "when", width: "7rem", draw: (row) => (row.time ? ago(row.time) : "") },
      { key: "delete", title: html`<span class="unseen">actions</span>`, width: "6rem", draw: (row) => mayWrite && html`<button type="button" class="quiet" aria-label=${`Delete the tag ${row.name}`} onclick=${() => remove(row.name)}>delete</button>` },
    ]} />`;
}

/** The reflog of a run, a tag or HEAD. */
export function History() {
  const known = useStore(runs);
  const names = ["HEAD", ...(known?.keys() ?? [])];
  const ref = useStore(place, ({ query }) => query.ref) ?? "HEAD";
  const found = useLoad((signal) => get("reflog", ref, { limit: MOST }, { signal }), [ref]);
  return html`<div class="tools"><label>ref <select value=${ref} onchange=${(event) => setQuery({ ref: event.target.value === "HEAD" ? null : event.target.value })}>
      ${[...names, ...(names.includes(ref) ? [] : [ref])].map((name) => html`<option key=${name} value=${name}>${plain(name)}</option>`)}</select></label>
      <code class="command">${command("reflog", ref)}</code></div>
    ${found.error && html`<p class="error" role="alert">${plain(found.error.message)}</p>`}
    <${Table} label=${`History of ${ref}`} rows=${found.data ?? []} rowKey=${(row) => String(row.index)} empty=${found.data ? `${plain(ref)} has no earlier values.` : found.error ? "" : "reading …"} columns=${[
      { key: "index", title: "#", isNumber: true, width: "4rem", draw: (row) => row.index },
      { key: "new", title: "became", width: "7rem", draw: (row) => state(row.new) },
      { key: "old", title: "was", width: "7rem", draw: (row) => state(row.old) },
      { key: "message", title: "by", width: "minmax(8rem, 3fr)", draw: (row) => plain(row.message) },
      { key: "time", title: "when", width: "7rem", draw: (row) => html`<time datetime=${row.time} title=${row.time}>${ago(row.time)}</time>` },
    ]} />`;
}

/** What no ref leads to, and until when it can be brought back. */
export function Unreachable() {
  const found = useLoad((signal) => get("unreachable", "", { limit: MOST }, { signal }), []);
  const rows = found.data ?? [];
  return html`<div class="tools"><span role="status">${found.data ? `${plural(rows.length, "unreachable object")}${rows.length === MOST ? ", the first of them" : ""}` : found.error ? "" : "reading …"}</span>
      <code class="command">${command("gc", "--list-unreachable")}</code></div>
    ${found.error && html`<p class="error" role="alert">${plain(found.error.message)}</p>`}
    <${Table} label="Unreachable objects" rows=${rows} rowKey=${(row) => row.oid} empty=${found.data ? "Every object is reachable." : "reading …"} columns=${[
      { key: "oid", title: "object", width: "7rem", draw: (row) => html`<span class="mono" title=${row.oid}>${row.oid.slice(0, 8)}</span>` },
      { key: "kind", title: "kind", width: "7rem", draw: (row) => plain(row.kind) },
      { key: "name", title: "what", width: "minmax(8rem, 2fr)", draw: (row) => plain(row.name ?? (row.states ? `${plural(row.states, "state")}, the newest of step ${row.step}` : "–")) },
      { key: "state", title: "state", width: "7rem", draw: (row) => html`<span class="mono">${(row.state ?? "–").slice(0, 8)}</span>` },
      { key: "until", title: "kept until", width: "12rem", draw: (row) => moment(row.until) },
    ]} />`;
}

/** Return a time of nanoseconds since 1970 as a date. @param {number | {$int: string}} value */
const moment = (value) => new Date(Number(BigInt(value?.$int ?? value) / 1_000_000n)).toISOString().slice(0, 16).replace("T", " ");
