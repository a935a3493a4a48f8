// A question of a simulation: its form, its deadline, its answer.
import { html, useEffect, useMemo, useState } from "../../vendor/preact.js";
import { json, plain } from "../../core/format.js";
import { useKeys } from "../../core/keys.js";
import { Fields, fieldsOf, useForm } from "../../parts/form.js";
import { say } from "../../parts/notice.js";
import { answer } from "./act.js";
import { useClock } from "./standing.js";

const MOST = 10; // choices that are buttons

/** Return the choices of a question whose answer is one of a few, with the name of their field; else null. @param {any} form */
export function choicesOf(form) {
  const fields = Object.entries(form?.properties ?? {});
  if (fields.length !== 1) return null;
  const [[name, field]] = fields;
  if (Array.isArray(field.enum) && field.enum.length <= MOST) return { name, values: field.enum };
  const count = field.maximum - field.minimum + 1;
  return field.type === "integer" && count <= MOST ? { name, values: Array.from({ length: count }, (_, index) => field.minimum + index) } : null;
}

/** @param {{name: string, question: {number: number, text: string, form: any, until: number | null}, canAct: boolean, isPast?: boolean, onDone: () => void}} props isPast: it is answered, and the next one not there yet */
export function Question({ name, question, canAct, isPast, onDone }) {
  const fields = useMemo(() => fieldsOf(question.form), [question.number]);
  const choices = useMemo(() => choicesOf(question.form), [question.number]);
  const form = useForm(fields);
  const [state, set] = useState({ isBusy: false, error: /** @type {any} */ (null) });
  useEffect(() => {
    set({ isBusy: false, error: null });
    form.clear(); // what was typed was for the one before
  }, [question.number]);
  async function give(values) {
    if (state.isBusy || isPast) return;
    set({ isBusy: true, error: null });
    try {
      const done = await answer(name, question.number, values);
      say(`${name}: answered ${JSON.stringify(done.value)}`, { command: done.command });
      set({ isBusy: false, error: null });
      onDone();
    } catch (error) {
      set({ isBusy: false, error: form.refuse(error) ? null : error });
    }
  }
  const submit = (event) => {
    event.preventDefault();
    if (choices || form.check()) give(form.values);
  };
  return html`<form class="question" aria-label=${`Question: ${plain(question.text)}`} aria-busy=${isPast} onsubmit=${submit} novalidate>
    <h2><span aria-hidden="true">⁇</span> ${plain(question.text)}</h2>
    <div class="row">
      ${choices && canAct ? html`<${Choices} choices=${choices} onChoose=${(value) => give({ [choices.name]: value })} />`
        : html`<${Fields} form=${form} prefix=${`answer-${question.number}`} />`}
      <span class="send">${canAct && !choices && html`<button class="main" disabled=${state.isBusy}>${state.isBusy ? "…" : "Answer"}</button>`}
        <${Deadline} until=${question.until} /></span>
    </div>
    ${state.error && html`<p class="error" role="alert">${plain(state.error.message)}</p>`}
  </form>`;
}

/** One of a few: a button and a key each, so that one answers after another. */
function Choices({ choices, onChoose }) {
  const { name, values } = choices;
  useKeys(Object.fromEntries(values.map((value, index) => [String(index), [`${plain(name)} ${json(value)}`, () => onChoose(value)]])));
  return html`<div class="buttons" role="group" aria-label=${plain(name)}>${values.map((value, index) => html`<button type="button" key=${index} class="choice" aria-keyshortcuts=${String(index)}
    onclick=${() => onChoose(value)}>${plain(name)} <b>${json(value)}</b> ${String(value) === String(index) ? "" : html`<kbd>${index}</kbd>`}</button>`)}
    <span class="muted">or the keys 0 to ${values.length - 1}</span></div>`;
}

/** How long it waits for an answer. */
function Deadline({ until }) {
  const now = useClock(until !== null);
  if (until === null) return html`<span class="muted">waits until somebody answers</span>`;
  const left = Math.max(0, Math.ceil((until - now) / 1000));
  return html`<span class=${left <= 10 ? "warning" : "muted"} role="timer">default in ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}</span>`;
}
