// Parts that the dialogs have in common: name, seed, sweep, when, and the command.
import { html } from "../../vendor/preact.js";
import { get, isMissing } from "../../core/api.js";
import { count, number, plain, plural, seconds } from "../../core/format.js";
import { useCalm, useLoad } from "../../core/load.js";
import { Input } from "../../parts/form.js";

const SEED = { path: "seed", keys: ["seed"], kind: /** @type {const} */ ("integer"), isRequired: false };
const PAUSE = 250;

/** A text with its label and its error. @param {any} props */
export const Name = ({ value, error, onValue }) =>
  html`<${Input} id="start-name" label="name" field=${{ path: "name", keys: ["name"], kind: "string", isRequired: true }} text=${value} error=${error} isFirst onText=${onValue} />`;

/** The seed: none for as it was. @param {any} props */
export const Seed = ({ text, error, hint, onText }) =>
  html`<${Input} id="start-seed" label="seed" field=${SEED} text=${text} error=${error} hint=${hint} onText=${onText} />`;
Seed.field = SEED;

/** One setting over several values: a run each. @param {any} props */
export function Sweep({ paths, path, text, error, names, onPath, onText }) {
  return html`<div class="row">
    <div class="field"><label for="start-sweep">sweep</label>
      <select id="start-sweep" value=${path} onchange=${(event) => onPath(event.target.value)}>
        <option value="">no setting: one run</option>${paths.map((each) => html`<option value=${each}>${plain(each)}</option>`)}</select></div>
    ${path && html`<${Input} id="start-values" label="over" field=${{ path: "values", keys: ["values"], kind: "string", isRequired: true }} text=${text} error=${error}
      hint=${names.length ? `${plural(names.length, "run")}: ${names.slice(0, 4).join(", ")}${names.length > 4 ? ", …" : ""}` : "separated by commas"} onText=${onText} />`}
  </div>`;
}

/** Now, or in the queue. @param {any} props */
export function When({ isQueued, mustQueue, waiting, workers, onQueued }) {
  const before = waiting === 1 ? "1 that waits" : `${count(waiting)} that wait`;
  return html`<fieldset class="when"><legend class="unseen">When</legend>
    <label><input type="radio" name="when" checked=${!isQueued} disabled=${mustQueue} onchange=${() => onQueued(false)} /> start now</label>
    <label><input type="radio" name="when" checked=${isQueued} onchange=${() => onQueued(true)} /> queue${waiting ? ` behind ${before}` : ""}</label>
    ${mustQueue && html`<span class="muted">a sweep is queued</span>`}
    ${isQueued && workers === 0 && html`<span class="warning" role="status">⚠ this server has no worker: what is queued waits until one with --workers is started</span>`}
  </fieldset>`;
}

/** The command that does the same. @param {{text: string}} props */
export const Same = ({ text }) => html`<pre class="same" role="group" aria-label="The command that does the same" tabindex="0">${plain(text)}</pre>`;

/** How a state is reached before the simulation goes on from it. @param {{at: string | null}} props */
export function How({ at }) {
  const calm = useCalm(at, PAUSE);
  const { data, error, isLoading } = useLoad((signal) => (calm ? get("plan", calm, {}, { signal }) : Promise.resolve(null)), [calm]);
  if (!at) return null;
  const told = isLoading || calm !== at ? "looking …" : error ? (isMissing(error) ? "this server does not say how a state is reached" : error.message) : data ? tell(data) : "";
  return html`<p class="how" role="status"><span class="muted">how:</span> ${plain(told)}</p>`;
}

/** @param {any} plan as GET /v1/plan has it */
function tell(plan) {
  if (!plan.how) return `cannot be restored: ${plan.why ?? plan.error}`;
  const from = plan.start?.step ?? null;
  const parts = [`${plan.how}${from === null ? "" : ` at ${count(from)}`}`, plan.steps ? `${plural(plan.steps, "step")} again` : "no step again"];
  if (typeof plan.seconds === "number") parts.push(plan.seconds < 0.1 || plan.seconds >= 10 ? seconds(plan.seconds) : `${number(plan.seconds, 2)} s`);
  parts.push(plan.exact === true ? "exact ✓" : plan.exact === false ? `not exact: ${plan.why}` : `not known to be exact: ${plan.why ?? ""}`);
  return parts.join(", ");
}

/** Why nothing can be started here, in a line. @param {any} props */
export function Why({ may, types, canStart, branch }) {
  if (may && !may.can_write) {
    return html`<p class="said" role="status">${may.level === "view" ? "This token only reads" : "This server only reads"}: nothing can be started here; the command below does it in a terminal.</p>`;
  }
  if (types.error) return html`<p class="said" role="alert">The types cannot be read: ${plain(types.error.message)}. ${branch}</p>`;
  if (!types.data || canStart) return null;
  return html`<p class="said" role="status">This server starts no simulations: its repository is not trusted here (<code>simgit trust</code>), or in memory. ${branch}</p>`;
}

/** What was refused, and what was made before that. @param {any} props */
export function Refusal({ sending }) {
  if (!sending.error) return null;
  return html`<p class="error" role="alert">${plain(sending.error.message)}${sending.made.length > 0 && html` <span>Made before that: ${sending.made.map(plain).join(", ")}.</span>`}</p>`;
}
