// Queries of a simulation's type: asked in its own thread, between two steps.
import { html, useState } from "../../vendor/preact.js";
import { count, number, plain } from "../../core/format.js";
import { Input, readField } from "../../parts/form.js";
import { query } from "./act.js";

const ARGUMENT = { path: "argument", keys: ["argument"], kind: /** @type {const} */ ("json"), isRequired: false };
const KEPT = 5;

/** @param {{name: string, names: string[], canAct: boolean, phase: string}} props */
export function Queries({ name, names, canAct, phase }) {
  const [chosen, setChosen] = useState("");
  const [argument, setArgument] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [answers, setAnswers] = useState(/** @type {{key: number, what: string, value?: unknown, step?: number, ms?: number, error?: string}[]} */ ([]));
  if (!names.length) return null;
  const what = names.includes(chosen) ? chosen : names[0];
  async function submit(event) {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    const began = performance.now();
    const { value: given = null } = readField(ARGUMENT, argument);
    const put = (answer) => setAnswers((before) => [{ key: began, what: given === null ? what : `${what} ${JSON.stringify(given)}`, ...answer }, ...before].slice(0, KEPT));
    try {
      const found = await query(name, what, given);
      put({ value: found.value, step: found.step, ms: performance.now() - began });
    } catch (error) {
      put({ error: error.message });
    }
    setBusy(false);
  }
  return html`<section class="panel" aria-label="Queries">
    <h2>Queries</h2>
    <form class="row" onsubmit=${submit} aria-label="Query">
      <div class="field"><label for="query-name">query</label><select id="query-name" value=${what} onchange=${(event) => setChosen(event.target.value)}>${names.map((each) => html`<option value=${each}>${plain(each)}</option>`)}</select></div>
      <${Input} id="query-argument" label="argument" field=${ARGUMENT} text=${argument} hint="JSON, or empty" onText=${setArgument} />
      <span class="send"><button disabled=${!canAct || isBusy}>${isBusy ? "waits for a look …" : "Ask"}</button></span>
    </form>
    ${phase === "frozen" && html`<p class="muted">It is frozen: it answers when it resumes.</p>`}
    <ul class="answers" aria-live="polite">${answers.map((each) => html`<li key=${each.key}><code>${plain(each.what)}</code> → ${each.error
      ? html`<span class="said">${plain(each.error)}</span>`
      : html`<b>${plain(typeof each.value === "number" ? number(each.value) : JSON.stringify(each.value))}</b> <span class="muted">(${number(each.ms ?? 0, 2)} ms${each.step === undefined ? "" : each.step < 0 ? ", before the first state" : `, step ${count(each.step)}`})</span>`}</li>`)}</ul>
  </section>`;
}
