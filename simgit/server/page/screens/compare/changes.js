// What differs in two states of the same step, and why two runs came apart.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { command, count, json, number, plain } from "../../core/format.js";
import { useCalm, useLoad } from "../../core/load.js";

const PAUSE = 120;
const LONGEST = 110;
const ELEMENTS = 12;

/** The values of a change, as people read them. */
function shown(value) {
  if (value === undefined) return "–";
  const plainly = value !== null && typeof value === "object" && "$array" in value ? value.$array : value;
  const isRow = Array.isArray(plainly) && plainly.every((each) => typeof each === "number");
  if (!isRow) return json(plainly, LONGEST);
  return `${plainly.slice(0, ELEMENTS).map((each) => number(each)).join("  ")}${plainly.length > ELEMENTS ? " …" : ""}`;
}

/** A table of changes of a state. @param {{changes: any[], a: string, b: string}} props */
function Table({ changes, a, b }) {
  return html`<div class="wide"><table><thead><tr><th scope="col">field</th><th scope="col">${plain(a)}</th><th scope="col">${plain(b)}</th><th scope="col">difference</th></tr></thead>
    <tbody>${changes.map((change) => html`<tr key=${change.path}><th scope="row" class="mono">${plain(change.path)}</th><td class="pair">${shown(change.before)}</td><td class="pair">${shown(change.after)}</td>
      <td>${told(change)}</td></tr>`)}</tbody></table></div>`;
}

function told({ kind, array, before, after }) {
  if (array) return `${count(array.different)} of ${count(array.shapes[0].reduce((x, y) => x * y, 1))} elements, at most ${number(array.max_abs, 3)}`;
  if (typeof before === "number" && typeof after === "number") return number(after - before, 4);
  return { added: "only in b", removed: "only in a" }[kind] ?? "";
}

/** What differs at a step. @param {{a: string, b: string, step: number}} props */
export function Changes({ a, b, step }) {
  const calm = useCalm(step, PAUSE);
  const { data, error, isLoading } = useLoad((signal) => get("diff", "", { a: `${a}@${calm}`, b: `${b}@${calm}`, kind: "states" }, { signal }), [a, b, calm]);
  if (error) return html`<p class="said" role="alert">${plain(error.message)}</p>`;
  if (!data) return html`<p class="muted" role="status">${isLoading ? "comparing …" : ""}</p>`;
  if (data.a?.oid && data.a.oid === data.b?.oid) return html`<p class="muted" role="status">One state: both runs share it.</p>`;
  if (!data.changes.length) return html`<p class="muted" role="status">The values are the same; the states before are not.</p>`;
  return html`<${Table} changes=${data.changes} a=${a} b=${b} />`;
}

/** Why two runs came apart, when somebody asks. @param {{a: string, b: string, isApart: boolean}} props */
export function Why({ a, b, isApart }) {
  const [state, set] = useState({ isAsked: false, found: /** @type {any} */ (null), error: /** @type {any} */ (null) });
  useEffect(() => {
    if (!state.isAsked) return undefined;
    const control = new AbortController();
    get("bisect", "", { a, b }, { signal: control.signal }).then((found) => set({ isAsked: true, found, error: null }),
      (error) => control.signal.aborted || set({ isAsked: true, found: null, error }));
    return () => control.abort();
  }, [state.isAsked, a, b]);
  if (!isApart) return null;
  if (!state.isAsked) return html`<p><button type="button" onclick=${() => set({ ...state, isAsked: true })}>Why?</button> <span class="muted">compares oids only: ${plain(command("bisect", a, b))}</span></p>`;
  const { found, error } = state;
  return html`<section class="panel" aria-label="Why they differ"><h2>Why</h2>
    ${error ? html`<p class="said" role="alert">${plain(error.message)}</p>` : !found ? html`<p class="muted" role="status">bisecting …</p>` : html`
      <p role="status">${reason(found)} <span class="muted">${count(found.compared)} oids were compared.</span></p>
      ${found.changes.length > 0 && html`<${Table} changes=${found.changes} a=${a} b=${b} />`}`}
  </section>`;
}

const CAUSES = { action: "the action is another one" };

function reason({ step, cause, settings }) {
  if (step === null) return "No state differs.";
  const other = settings?.length ? ` Settings differ too: ${settings.flatMap((each) => leaves(each.path, each.before, each.after)).map(([path]) => plain(path)).join(", ")}.` : "";
  return `At step ${count(step)} ${CAUSES[cause] ?? (cause ? `${plain(cause)} differs` : "the states differ")}.${other}`;
}

const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !("$array" in value) && Object.keys(value).length > 0;

/** Return a change of nested settings as rows by dotted keys. */
export function leaves(path, before, after) {
  if (!(isMap(before) || isMap(after)) || (before !== undefined && !isMap(before)) || (after !== undefined && !isMap(after))) return [[path, before, after]];
  const keys = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  return keys.flatMap((key) => leaves(`${path}.${key}`, before?.[key], after?.[key])).filter(([, x, y]) => JSON.stringify(x) !== JSON.stringify(y));
}
