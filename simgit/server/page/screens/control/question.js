// A question of a simulation: its form, its deadline, its answer.
import { html, useMemo, useState } from "../../vendor/preact.js";
import { plain } from "../../core/format.js";
import { Fields, fieldsOf, useForm } from "../../parts/form.js";
import { say } from "../../parts/notice.js";
import { answer } from "./act.js";
import { useClock } from "./standing.js";

/** @param {{name: string, question: {number: number, text: string, form: any, until: number | null}, canAct: boolean, onDone: () => void}} props */
export function Question({ name, question, canAct, onDone }) {
  const fields = useMemo(() => fieldsOf(question.form), [question.number]);
  const form = useForm(fields);
  const [state, set] = useState({ isBusy: false, error: /** @type {any} */ (null) });
  async function submit(event) {
    event.preventDefault();
    if (state.isBusy || !form.check()) return;
    set({ isBusy: true, error: null });
    try {
      const done = await answer(name, question.number, form.values);
      say(`${name}: answered ${JSON.stringify(done.value)}`, { command: done.command });
      set({ isBusy: false, error: null });
      onDone();
    } catch (error) {
      set({ isBusy: false, error: form.refuse(error) ? null : error });
    }
  }
  return html`<form class="question" aria-label=${`Question: ${plain(question.text)}`} onsubmit=${submit} novalidate>
    <h2><span aria-hidden="true">⁇</span> ${plain(question.text)}</h2>
    <div class="row">
      <${Fields} form=${form} prefix=${`answer-${question.number}`} />
      <span class="send">${canAct && html`<button class="main" disabled=${state.isBusy}>${state.isBusy ? "…" : "Answer"}</button>`}
        <${Deadline} until=${question.until} /></span>
    </div>
    ${state.error && html`<p class="error" role="alert">${plain(state.error.message)}</p>`}
  </form>`;
}

/** How long it waits for an answer. */
function Deadline({ until }) {
  const now = useClock(until !== null);
  if (until === null) return html`<span class="muted">waits until somebody answers</span>`;
  const left = Math.max(0, Math.ceil((until - now) / 1000));
  return html`<span class=${left <= 10 ? "warning" : "muted"} role="timer">default in ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}</span>`;
}
