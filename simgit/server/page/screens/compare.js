// Two runs: since where they differ, in what, and how much.
import { html, useEffect } from "../vendor/preact.js";
import { get } from "../core/api.js";
import { command, count, json, number, plain } from "../core/format.js";
import { useCalm, useLoad } from "../core/load.js";
import { address, place, setQuery } from "../core/router.js";
import { runs } from "../core/runs.js";
import { useStore } from "../core/store.js";
import { Curves } from "../parts/curves.js";
import { Phase } from "../parts/phase.js";
import { Changes, leaves, Why } from "./compare/changes.js";
import { Difference } from "./compare/difference.js";
import { Frames } from "./compare/frames.js";

const AGAIN = 1000;

/** The screen that compares two runs. */
export function Screen() {
  const { query } = useStore(place);
  const known = useStore(runs);
  const [a, b] = [known?.get(query.a), known?.get(query.b)];
  if (known === null) return html`<p class="empty" role="status">reading …</p>`;
  const missing = [query.a, query.b].filter((name) => name && !known.has(name));
  return html`<div class="compare">
    <header class="tools">
      <h1 class="unseen">Compare two runs</h1>
      <${Choice} label="Run a" name="a" value=${query.a} known=${known} /><span aria-hidden="true">↔</span><${Choice} label="Run b" name="b" value=${query.b} known=${known} />
      <button type="button" class="quiet" aria-label="Exchange a and b" onclick=${() => setQuery({ a: query.b, b: query.a })}>⇄</button>
      <span class="spread"></span>
      ${a && b && html`<code class="muted">${plain(command("diff", a.name, b.name))}</code>`}
    </header>
    ${missing.length > 0 && html`<p class="error" role="alert">There is no run ${missing.map(plain).join(", ")}.</p>`}
    ${a && b ? (a.name === b.name ? html`<p class="empty">Both are the same run: choose another one.</p>` : html`<${Both} key=${`${a.name} ${b.name}`} a=${a} b=${b} query=${query} />`)
      : !missing.length && html`<p class="empty">Choose two runs to compare.</p>`}
  </div>`;
}

/** A run by its name. */
function Choice({ label, name, value, known }) {
  return html`<input list="compare-runs" aria-label=${label} placeholder=${label.toLowerCase()} autocomplete="off" size="18" value=${value ?? ""}
      onchange=${(event) => setQuery({ [name]: event.target.value.trim() || null, step: null })} />
    ${name === "a" && html`<datalist id="compare-runs">${[...known.keys()].slice(0, 1000).map((each) => html`<option value=${each}></option>`)}</datalist>`}`;
}

function Both({ a, b, query }) {
  const tips = useCalm(`${a.oid} ${b.oid}`, AGAIN);
  const bothHave = Boolean(a.oid && b.oid);
  const diff = useLoad((signal) => (bothHave ? get("diff", "", { a: a.name, b: b.name, kind: "runs", whole: false }, { signal }) : Promise.resolve(null)), [tips]);
  const config = useLoad((signal) => get("diff", "", { a: a.name, b: b.name, kind: "config" }, { signal }), [tips, JSON.stringify([a.config, b.config])]);
  const found = diff.data;
  const last = Math.min(a.step ?? 0, b.step ?? 0);
  const first = found?.first_step ?? found?.ancestor_step ?? 0;
  const step = Math.max(0, Math.min(last, query.step === undefined ? (first ?? 0) : Number(query.step) || 0));
  const go = (next) => setQuery({ step: next });
  useEffect(() => { document.title = `${a.name} ↔ ${b.name} · simgit`; }, [a.name, b.name]);
  return html`
    ${diff.error && html`<p class="error" role="alert">${plain(diff.error.message)}</p>`}
    ${!bothHave ? html`<p class="muted">${[a, b].filter((run) => !run.oid).map((run) => plain(run.name)).join(" and ")} has no states yet: only settings are compared.</p>`
      : html`<p class="since" role="status">${found ? since(found, a, b) : "comparing …"}
        ${found && found.first_step !== null && html` <button type="button" onclick=${() => go(found.first_step)}>Go there</button>`}</p>
        ${found && html`<${Why} key=${tips} a=${a.name} b=${b.name} isApart=${found.first_step !== null} />`}`}
    <div class="grid">
      ${found && html`<section class="panel" aria-label="States"><h2>States</h2><${Sides} found=${found} a=${a} b=${b} /></section>`}
      <section class="panel" aria-label="Settings that differ"><h2>Settings that differ</h2>
        ${config.error ? html`<p class="said" role="alert">${plain(config.error.message)}</p>` : html`<${Settings} changes=${config.data?.changes} a=${a.name} b=${b.name} />`}</section>
    </div>
    ${bothHave && html`<section class="panel" aria-label="At the same step"><${Steps} step=${step} last=${last} first=${found?.first_step ?? null} onStep=${go} />
        <${Frames} a=${a} b=${b} step=${step} />
        <${Changes} a=${a.name} b=${b.name} step=${step} /></section>
      <${Curves} names=${[a.name, b.name]} cursor=${step} onPick=${(_, picked) => go(Math.min(last, picked))} marks=${found?.first_step ? [{ x: found.first_step, text: "first difference" }] : []} />
      <${Difference} a=${a} b=${b} tips=${tips} />`}`;
}

/** Since where two runs differ, in a sentence. */
function since({ ancestor_step: ancestor, first_step: first, a: left, b: right }, a, b) {
  const apart = ancestor === null || ancestor === undefined || ancestor < 0 ? "They have no state in common." : `Apart since step ${count(ancestor)}.`;
  if (first !== null && first !== undefined) return html`${apart} First difference: <b>step ${count(first)}</b>.`;
  if (left.only === 0 && right.only === 0) return "All states are the same.";
  const longer = left.only ? a : b;
  return `The same up to step ${count(ancestor)}; only ${plain(longer.name)} goes on.`;
}

function Sides({ found, a, b }) {
  const row = (run, side) => html`<tr><th scope="row"><a href=${address("run", run.name)}>${plain(run.name)}</a></th><td><${Phase} run=${run} /></td>
    <td class="number">${count(side.length)}</td><td class="number">${count(side.only)}</td><td class="number">${number(side.total_return)}</td>
    <td class="number">${number(side.return_after)}</td><td class="number">${count(side.episodes_after)}</td></tr>`;
  return html`<div class="wide"><table><thead><tr><th scope="col">run</th><th scope="col">status</th><th scope="col" class="number">states</th><th scope="col" class="number">only here</th><th scope="col" class="number">return</th>
    <th scope="col" class="number">since</th><th scope="col" class="number">episodes since</th></tr></thead><tbody>${row(a, found.a)}${row(b, found.b)}</tbody></table></div>`;
}

function Settings({ changes, a, b }) {
  if (!changes) return html`<p class="muted" role="status">reading …</p>`;
  if (!changes.length) return html`<p class="muted">none: both have the same settings</p>`;
  const rows = changes.flatMap((change) => leaves(change.path, change.before, change.after));
  const shown = (value) => (value === undefined ? html`<span class="muted">–</span>` : json(value, 60));
  return html`<div class="wide"><table><thead><tr><th scope="col">setting</th><th scope="col">${plain(a)}</th><th scope="col">${plain(b)}</th></tr></thead>
    <tbody>${rows.map(([path, before, after]) => html`<tr key=${path}><th scope="row" class="mono">${plain(path)}</th><td>${shown(before)}</td><td>${shown(after)}</td></tr>`)}</tbody></table></div>`;
}

/** The step at which both are looked at. */
function Steps({ step, last, first, onStep }) {
  const to = (next) => onStep(Math.max(0, Math.min(last, next)));
  return html`<div class="tools"><h2>At the same step</h2>
    <button type="button" aria-label="One step back" disabled=${step <= 0} onclick=${() => to(step - 1)}>◁</button>
    <input type="range" class="steps" aria-label="Step of both" min="0" max=${last} value=${step} aria-valuetext=${`step ${step} of ${last}${step === first ? ", the first difference" : ""}`} oninput=${(event) => to(Number(event.target.value))} />
    <button type="button" aria-label="One step on" disabled=${step >= last} onclick=${() => to(step + 1)}>▷</button>
    <output>step ${count(step)} of ${count(last)}</output></div>`;
}
