// The cluster of a SimKube state: nodes and how full they are, pods and why they wait.
import { html } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { bytes, number, plain, plural, seconds } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { useSettled } from "./cursor.js";

const CALM = 120;
const MOST = 100;
const SUFFIXES = { m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 };

/** Return a quantity of Kubernetes as a number; null if it is none. @param {unknown} text such as "250m" or "4Gi" */
export function quantity(text) {
  if (typeof text === "number") return text;
  const found = /^([\d.]+(?:e[+-]?\d+)?)([a-zA-Z]*)$/.exec(String(text ?? ""));
  if (!found || (found[2] && !(found[2] in SUFFIXES))) return null;
  return Number(found[1]) * (SUFFIXES[found[2]] ?? 1);
}

/** @param {{state: any}} props */
export function Panel({ state }) {
  const oid = useSettled(state?.oid, CALM);
  const { data, error } = useLoad((signal) => (oid ? get("cluster", oid, {}, { signal }) : Promise.resolve(null)), [oid]);
  const recorded = state && "ready" in state.info ? { ready: state.info.ready, pending: state.info.pending, total: state.info.total } : null;
  const totals = data?.totals ?? recorded;
  const missing = error && (error.record?.title === "Not found" || error.status === 405) ? "this server does not rebuild clusters" : error?.message;
  return html`<div class="cluster">
    ${totals && html`<p class="totals">${Object.entries(totals).map(([key, value]) => html`<span key=${key}><b>${typeof value === "number" ? number(value) : plain(value)}</b> ${plain(key)}</span>`)}
      ${data?.seconds !== null && data?.seconds !== undefined && html`<span><b>${seconds(data.seconds)}</b> of the trace</span>`}
      ${typeof state?.reward === "number" && html`<span>reward <b>${number(state.reward)}</b></span>`}</p>`}
    ${missing && html`<p class="muted">Only the counts are known here: ${plain(missing)}.</p>`}
    ${data?.why && html`<p class="muted">Only the counts are known: ${plain(data.why)}.</p>`}
    ${data?.nodes && html`<${Nodes} nodes=${data.nodes} />`}
    ${data?.pods && html`<${Pods} pods=${data.pods} />`}
    ${data?.events?.length > 0 && html`<details><summary>${plural(data.events.length, "event")}</summary>
      <ul class="plain mono">${data.events.slice(-MOST).map((each, index) => html`<li key=${index}>${plain(Object.values(each).filter((part) => part !== null).join("  "))}</li>`)}</ul></details>`}
    ${!data && !error && html`<p class="muted" role="status">rebuilding …</p>`}
  </div>`;
}

function Nodes({ nodes }) {
  return html`<h3>${plural(nodes.length, "node")}</h3>
    <ul class="nodes">${nodes.slice(0, MOST).map((node) => {
      const offered = node.allocatable ?? node;
      return html`<li key=${node.name} class="panel"><b>${plain(node.name)}</b>
        ${node.ready === false && html` <span class="bad">✕ not ready</span>`}${node.unschedulable && html` <span class="muted">unschedulable</span>`}
        <${Fill} what="cpu" used=${quantity(node.used?.cpu)} all=${quantity(offered.cpu)} text=${(value) => number(value, 3)} />
        <${Fill} what="memory" used=${quantity(node.used?.memory)} all=${quantity(offered.memory)} text=${bytes} />
        <${Fill} what="pods" used=${quantity(node.used?.pods)} all=${quantity(offered.pods)} text=${number} /></li>`;
    })}</ul>${nodes.length > MOST && html`<p class="muted">and ${nodes.length - MOST} more</p>`}`;
}

/** How much of what a node offers is requested. */
function Fill({ what, used, all, text }) {
  if (used === null || used === undefined) return null;
  const isKnown = all !== null && all !== undefined && all > 0;
  return html`<div class="fill"><span>${what}</span>
    ${isKnown ? html`<meter min="0" max=${all} value=${used} aria-label=${`${what}: ${text(used)} of ${text(all)}`}></meter>` : html`<span></span>`}
    <span class="number">${isKnown ? `${Math.round((100 * used) / all)} %` : ""}</span><span class="muted">${text(used)}${isKnown ? ` of ${text(all)}` : ""}</span></div>`;
}

/** Pods by phase; those that wait, with the reasons. */
function Pods({ pods }) {
  const phases = new Map();
  for (const pod of pods) phases.set(pod.phase, [...(phases.get(pod.phase) ?? []), pod]);
  const waiting = pods.filter((pod) => pod.message);
  const reasons = new Map();
  for (const pod of waiting) reasons.set(pod.message, [...(reasons.get(pod.message) ?? []), pod]);
  return html`<h3>${plural(pods.length, "pod")}</h3>
    <p class="totals">${[...phases].map(([phase, each]) => html`<span key=${phase}><b>${each.length}</b> ${plain(phase)}</span>`)}</p>
    ${reasons.size > 0 && html`<ul class="plain">${[...reasons].slice(0, MOST).map(([reason, each]) => html`<li key=${reason}><b>${plural(each.length, "pod")}</b> ${plain(reason)}${" "}
      <span class="muted">${each.slice(0, 5).map((pod) => plain(`${pod.namespace}/${pod.name}`)).join(", ")}${each.length > 5 ? " …" : ""}</span></li>`)}</ul>`}`;
}
