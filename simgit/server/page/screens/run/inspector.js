// One state: its values with what changed since its parent, what is attached, and where it stands.
import { html } from "../../vendor/preact.js";
import { get, url } from "../../core/api.js";
import { ago, json, plain, plural } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { address } from "../../core/router.js";
import { runs } from "../../core/runs.js";
import { useStore } from "../../core/store.js";
import { attempt } from "../../parts/notice.js";
import { Attachments } from "./attachments.js";
import { Value } from "./values.js";

/** What is drawn elsewhere in the inspector, or is no value of the state. */
const APART = new Set(["oid", "parents", "origin", "run", "step", "episode", "episode_step", "time", "terminated", "truncated", "message", "info"]);
const MOST = 8; // runs by name

/**
 * @param {{name: string, calm: string | undefined, follows: boolean, state: any, parent: any, error: any, tags: {name: string, oid: string}[], nextOid?: string, onStep: (step: number) => void}} props
 *   calm: the oid on which the person has stopped; follows: it is the newest of a run that grows; parent: the state before; undefined while it is read
 */
export function Inspector({ name, calm, follows, state, parent, error, tags, nextOid, onStep }) {
  if (error) return html`<section class="panel inspector" aria-label="State"><p class="error" role="alert">${plain(error.message)}</p></section>`;
  if (!state) return html`<section class="panel inspector" aria-label="State"><p class="empty" role="status">reading …</p></section>`;
  const values = Object.entries(state).filter(([key, value]) => !APART.has(key) && value !== null && !(key === "reset" && !Object.keys(value).length));
  const order = ["observation", "action", "reward"];
  values.sort(([a], [b]) => (order.indexOf(a) + 1 || 9) - (order.indexOf(b) + 1 || 9));
  return html`<section class="panel inspector" aria-label="State" data-step=${state.step}>
    <header><h2>State ${state.step}</h2> <code class="oid" title=${state.oid}>${state.oid.slice(0, 12)}</code>
      <button type="button" class="quiet" aria-label="Copy the oid" onclick=${() => copy(state.oid)}>copy</button>
      ${state.terminated && html`<span class="flag">■ terminated</span>`}${state.truncated && html`<span class="flag">■ truncated</span>`}
      ${state.reset && html`<span class="flag">▸ reset</span>`}
      <span class="spread"></span><span class="muted">Δ to the parent · <time datetime=${state.time} title=${plain(state.time)}>${ago(state.time)}</time></span></header>
    ${state.message && html`<p>${plain(state.message)}</p>`}
    <div class="parts"><div class="values">${values.map(([key, value]) => html`<${Value} key=${key} name=${key} value=${value} before=${parent?.[key]} />`)}
      ${Object.keys(state.info ?? {}).length > 0 && html`<${Value} key="info" name="info" value=${state.info} before=${parent?.info} />`}</div>
    <${Around} name=${name} calm=${calm} follows=${follows} nextOid=${nextOid} state=${state} tags=${tags} onStep=${onStep} /></div>
  </section>`;
}

const copy = (oid) => attempt(() => navigator.clipboard.writeText(oid), "copied the oid");

/** What is attached to a state, and where it stands: read when the person stops moving. */
function Around({ name, calm: oid, follows, state, tags, nextOid, onStep }) {
  const { data, error } = useLoad(async (signal) => {
    if (!oid) return null;
    const read = (noun) => get(noun, oid, {}, { signal });
    const [attachments, files, children, runs] = await Promise.all([read("attachments"), read("files"), get("children", oid, { limit: 20 }, { signal }), read("contains")]);
    return { oid, attachments, files, children, runs };
  }, [oid]);
  const inRuns = useLoad(async (signal) => {
    const found = {};
    for (const child of (data?.children ?? []).filter((each) => each.oid !== nextOid).slice(0, MOST)) { // one after another: others ask too
      if (signal.aborted) break;
      found[child.oid] = await get("contains", child.oid, {}, { signal }).catch(() => []);
    }
    return found;
  }, [data?.oid]).data ?? {};
  const now = data?.oid === state.oid ? data : follows ? { attachments: [], files: {}, children: [], runs: [name] } : null; // that of another state is not shown
  const forks = useStore(runs, (all) => [...(all?.values() ?? [])].filter((run) => run.branch_point === state.oid).map((run) => run.name).join("\n")).split("\n").filter(Boolean);
  const children = now && !now.children.length && nextOid ? [{ oid: nextOid }] : now?.children; // it came since
  const here = tags.filter((tag) => tag.oid === state.oid);
  return html`<div class="around" aria-busy=${!now}>
    ${error && html`<p class="error" role="alert">${plain(error.message)}</p>`}
    ${now && html`<${Attachments} oid=${state.oid} attachments=${now.attachments} files=${now.files} />`}
    <dl class="facts">
      <dt>parent</dt><dd>${state.parents.length ? state.parents.map((parent, index) => html`<${Step} key=${parent} oid=${parent} step=${index === 0 ? state.step - 1 : null} onStep=${onStep} />`) : html`<span class="muted">none: the first state</span>`}</dd>
      <dt>children</dt><dd>${!now ? "…" : children.length ? children.map((child) => (child.oid === nextOid
      || inRuns[child.oid]?.includes(name)
        ? html`<${Step} key=${child.oid} oid=${child.oid} step=${state.step + 1} sign="↓" onStep=${onStep} />`
        : html`<${Elsewhere} key=${child.oid} child=${{ ...child, runs: inRuns[child.oid] }} step=${state.step + 1} />`)) : html`<span class="muted">none yet</span>`}</dd>
      ${forks.length > 0 && html`<dt>forks here</dt><dd>${forks.slice(0, MOST).map((run) => html`<a key=${run} href=${address("run", run)}>${plain(run)}</a> `)}</dd>`}
      <dt>in runs</dt><dd>${!now ? "…" : now.runs.slice(0, MOST).map((run) => (run === name ? html`<span key=${run}>${plain(run)}</span> ` : html`<a key=${run} href=${address("run", run, { step: state.step })}>${plain(run)}</a> `))}
        ${now && now.runs.length > MOST && html`<span class="muted">and ${plural(now.runs.length - MOST, "more run")}</span>`}</dd>
      ${here.length > 0 && html`<dt>tags</dt><dd>${here.map((tag) => html`<span class="chip" key=${tag.name} title=${plain(tag.message ?? "")}>${plain(tag.name)}</span> `)}</dd>`}
      ${state.origin && html`<dt>origin</dt><dd><a href=${url("origin", state.oid)} target="_blank" rel="noopener">what it began with</a></dd>`}
    </dl>
  </div>`;
}

/** A child on another run, where it is looked at; one that no run leads to has its oid alone. */
const Elsewhere = ({ child, step }) => (child.runs?.length
  ? html`<a href=${address("run", child.runs[0], { step })} title=${child.oid}>↳ ${plain(child.runs[0])}@${step}</a>${child.runs.length > 1 ? html` <span class="muted">and ${plural(child.runs.length - 1, "more run")}</span>` : ""} `
  : html`<code title=${child.oid}>${child.oid.slice(0, 8)}</code> `);

/** A parent: the one before it is a step away, another is of another line. */
const Step = ({ oid, step, sign = "↑", onStep }) => (step === null
  ? html`<code title=${oid}>${oid.slice(0, 8)}</code> `
  : html`<button type="button" class="quiet link" onclick=${() => onStep(step)} title=${oid}>${sign} <code>${oid.slice(0, 8)}</code></button> `);

/** Return a short line about a value, as tables show it. @param {any} value */
export const brief = (value) => (value === null || value === undefined ? "–" : json(value, 60));
