// The settings of the repository; those that only its user may change are shown, and changed elsewhere.
import { html } from "../../vendor/preact.js";
import { get, send, session, url } from "../../core/api.js";
import { command, json, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { Store, useStore } from "../../core/store.js";
import { attempt } from "../../parts/notice.js";

const TEXTS = {
  "oplog.keep": "operations that are kept at least", "oplog.days": "days for which operations are kept", "gc.grace": "days for which unreachable objects are kept",
  "gc.reflog": "days for which reflogs are kept", "gc.keep": "retention rules of attachments, such as agent: last 5, every 100", "gc.auto": "small segments after which they are joined by themselves; 0 for never",
  "gc.rewrite": "percent of a segment that must be unreachable for gc to rewrite it", "live.days": "days for which events of simulations are kept",
};
const ELSEWHERE = [
  { begins: "live.types.", title: "Types of simulations", what: "They name code" },
  { begins: "remote.", title: "Remotes", what: "They say where runs are sent" },
];
const again = new Store(0);

/** The settings as a form: what is typed is stored when it is left. */
export function Settings() {
  const time = useStore(again);
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const found = useLoad((signal) => get("settings", "", {}, { signal }), [time]);
  if (found.error) return html`<p class="error" role="alert">${plain(found.error.message)}</p>`;
  if (!found.data) return html`<p class="empty" role="status">reading …</p>`;
  const all = Object.entries(found.data);
  const isHere = ([name]) => !ELSEWHERE.some(({ begins }) => name.startsWith(begins));
  return html`<p class="muted">Settings of the repository are no part of operations: undo does not change them back.</p>
    <div class="entries">${all.filter(isHere).map(([name, value]) => html`<${Setting} key=${`${name} ${time}`} name=${name} value=${value} mayWrite=${mayWrite} />`)}</div>
    ${ELSEWHERE.map((kind) => ({ ...kind, found: all.filter(([name]) => name.startsWith(kind.begins)) })).filter(({ found: some }) => some.length > 0).map(({ title, what, found: some }) => html`<h2 key=${title}>${title}</h2><p class="muted">${what}, which is changed by <code>simgit config --repository</code> only.</p>
      <dl class="entries">${some.map(([name, value]) => html`<div key=${name}><dt>${plain(name)}</dt><dd><code>${plain(String(value))}</code></dd></div>`)}</dl>`)}`;
}

function Setting({ name, value, mayWrite }) {
  const isNumber = typeof value === "number";
  async function store(next) {
    const line = next === null ? command("config", "--repository", "--unset", name) : command("config", "--repository", `${name}=${next}`);
    await attempt(() => send("PATCH", url("settings"), { body: { [name]: next } }), next === null ? `${name} has its default again` : `${name} is ${json(next)}`, line);
    again.set((count) => count + 1); // what is refused is shown as it was
  }
  const change = (event) => {
    const text = event.target.value.trim();
    if (isNumber && text === "") return void store(null);
    store(isNumber ? Number(text) : text);
  };
  return html`<div><label><span class="mono">${plain(name)}</span>
      <input type=${isNumber ? "number" : "text"} step="any" value=${value} disabled=${!mayWrite} onchange=${change} /></label>
    <span class="muted">${TEXTS[name] ?? ""}</span>
    ${mayWrite && html`<button type="button" class="quiet" aria-label=${`Default of ${name}`} onclick=${() => store(null)}>default</button>`}</div>`;
}
