// Settings of a simulation that runs: what is changed applies from its next step.
import { html, useMemo, useState } from "../../vendor/preact.js";
import { count, plain } from "../../core/format.js";
import { exampleSchema, Fields, fieldsOf, useForm } from "../../parts/form.js";
import { say } from "../../parts/notice.js";
import { configure } from "./act.js";

/** @param {{name: string, type: any, inputs: {config: any} | null, canAct: boolean, isOver: boolean, onDone: () => void}} props */
export function LiveSettings({ name, type, inputs, canAct, isOver, onDone }) {
  const text = JSON.stringify([type?.form ?? null, inputs?.config ?? null]);
  if (!inputs) return null;
  return html`<section class="panel" aria-label="Settings">
    <h2>${isOver ? "Settings" : "Settings, live"}</h2>
    <${Form} key=${text} name=${name} type=${type} config=${inputs.config} canAct=${canAct && !isOver} onDone=${onDone} />
  </section>`;
}

function Form({ name, type, config, canAct, onDone }) {
  const fields = useMemo(() => {
    const known = new Map(fieldsOf(type?.form).map((field) => [field.path, field]));
    for (const field of fieldsOf(exampleSchema(config))) known.set(field.path, known.has(field.path) ? { ...known.get(field.path), given: field.given } : field);
    return [...known.values()];
  }, []);
  const form = useForm(fields);
  const [state, set] = useState({ isBusy: false, error: /** @type {any} */ (null) });
  const changed = Object.keys(form.changed);
  async function submit(event) {
    event.preventDefault();
    if (state.isBusy || !form.check() || !changed.length) return;
    set({ isBusy: true, error: null });
    try {
      const done = await configure(name, form.changed);
      say(`${name}: ${changed.map((path) => `${path} ${JSON.stringify(form.changed[path])}`).join(", ")} from step ${count(done.from)} on`, { command: done.command });
      set({ isBusy: false, error: null });
      onDone();
    } catch (error) {
      set({ isBusy: false, error: form.refuse(error) ? null : error });
    }
  }
  if (!fields.length) return html`<p class="muted">none</p>`;
  if (!canAct) return html`<dl class="pairs">${fields.map((field) => html`<div key=${field.path}><dt class="mono">${plain(field.path)}</dt><dd>${plain(form.textOf(field))}</dd></div>`)}</dl>`;
  return html`<form onsubmit=${submit} aria-label="Settings" novalidate>
    <${Fields} form=${form} prefix="live" isMarked />
    <div class="tools"><button disabled=${!changed.length || state.isBusy}>${state.isBusy ? "waits for a look …" : "Apply from the next step"}</button>
      ${changed.length > 0 && html`<button type="button" class="quiet" onclick=${form.clear}>Discard</button>`}</div>
    ${state.error && html`<p class="error" role="alert">${plain(state.error.message)}</p>`}
  </form>`;
}
