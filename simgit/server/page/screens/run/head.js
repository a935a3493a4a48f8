// The head of a run: what it is, where it comes from, and what can be done with it.
import { html, useRef, useState } from "../../vendor/preact.js";
import { send, session, url } from "../../core/api.js";
import { command, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { address } from "../../core/router.js";
import { runs } from "../../core/runs.js";
import { useStore } from "../../core/store.js";
import { closeDialog, Dialog, openDialog } from "../../parts/dialog.js";
import { attempt, say } from "../../parts/notice.js";
import { Phase, phaseOf, Progress } from "../../parts/phase.js";
import { readState } from "./past.js";

const PATIENCE = 10;
const MOST = 200;

/** Fork a run at a step; the dialog is another screen's. @param {string} name @param {number} step */
export async function fork(name, step) {
  let module;
  try {
    module = await import("../fork.js");
  } catch {
    return say("this page has no dialog for forks; the command does it", { command: command("branch", "NEW", `${name}@${step}`) });
  }
  return module.openFork(name, step);
}

/** @param {{run: any, simulation: any, step: number}} props step: the one that is shown */
export function Head({ run, simulation, step }) {
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const phase = phaseOf(run, simulation);
  const isOn = Boolean(simulation) && !simulation.outcome && phase !== "ended";
  const ask = (what, done) => attempt(() => send("POST", url(`simulations/${what}`, run.name), { body: { timeout: PATIENCE } }), `${done} ${run.name}`, command("sim", what, run.name));
  return html`<header class="run-head">
    <h1 title=${plain(run.name)}>${plain(run.name)}</h1>
    <${Phase} run=${run} simulation=${simulation} />
    ${isOn && html`<${Progress} progress=${simulation.progress} />`}
    ${simulation?.outcome && simulation.reason && html`<span class="muted reason" title=${plain(simulation.reason)}>${plain(simulation.reason)}</span>`}
    <${From} run=${run} />
    <span class="spread"></span>
    <div class="buttons" role="group" aria-label="What can be done">
      ${mayWrite && isOn && (phase === "paused" || phase === "frozen"
        ? html`<button type="button" onclick=${() => ask("resume", "resumed")}>▶ Resume</button>`
        : (phase === "running" || phase === "asking") && html`<button type="button" onclick=${() => ask("pause", "paused")}>❚❚ Pause</button>`)}
      ${mayWrite && isOn && html`<button type="button" onclick=${() => ask("stop", "stopped")}>■ Stop</button>`}
      ${mayWrite && run.oid && html`<button type="button" class="main" aria-keyshortcuts="f" onclick=${() => fork(run.name, step)}>Fork here <kbd>f</kbd></button>
        <button type="button" onclick=${() => openTag(run.name, step)}>Tag</button>`}
      <${CompareWith} name=${run.name} />
    </div>
  </header>`;
}

/** The run that this one was branched off, and the step. */
function From({ run }) {
  const point = useLoad(() => (run.branch_point ? readState(run.branch_point) : Promise.resolve(null)), [run.branch_point]);
  if (!run.parent) return null;
  const step = point.data?.step;
  return html`<span class="muted">from <a href=${address("run", run.parent, { step })}>${plain(run.parent)}${step === undefined ? "" : `@${step}`}</a></span>`;
}

/** A menu of the other runs; text narrows it. */
function CompareWith({ name }) {
  const known = useStore(runs);
  const [text, setText] = useState("");
  const menu = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  const [isOpen, setOpen] = useState(false);
  const close = (event) => {
    if (event.key !== "Escape" || !menu.current?.open) return;
    menu.current.open = false;
    menu.current.querySelector("summary")?.focus();
  };
  const leave = (event) => {
    if (menu.current && !menu.current.contains(event.relatedTarget)) menu.current.open = false;
  };
  const others = isOpen ? [...(known?.keys() ?? [])].filter((each) => each !== name && each.includes(text)) : [];
  if ((known?.size ?? 0) < 2) return null;
  return html`<details class="menu" ref=${menu} onkeydown=${close} onfocusout=${leave} ontoggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary class="button">Compare with ▾</summary>
    ${isOpen && html`<div class="menu-body">
      <input type="search" aria-label="Narrow the runs" placeholder="name" value=${text} oninput=${(event) => setText(event.target.value)} />
      <ul class="plain">${others.slice(0, MOST).map((other) => html`<li key=${other}><a href=${address("compare", "", { a: name, b: other })}>${plain(other)}</a></li>`)}</ul>
      ${!others.length && html`<p class="muted">No run has this in its name.</p>`}
      ${others.length > MOST && html`<p class="muted">and ${others.length - MOST} more: narrow them</p>`}
    </div>`}
  </details>`;
}

/** Ask for the name of a tag. @param {string} run @param {number} step */
export function openTag(run, step) {
  openDialog(() => html`<${TagDialog} run=${run} step=${step} />`);
}

function TagDialog({ run, step }) {
  const [name, setName] = useState("");
  const [message, setMessage] = useState("");
  const at = `${run}@${step}`;
  const same = command("tag", name || "NAME", at, ...(message ? ["-m", message] : []));
  async function submit(event) {
    event.preventDefault();
    const done = await attempt(() => send("PUT", url("tags", name.trim()), { body: { at, ...(message ? { message } : {}) } }), `tagged ${at} as ${name.trim()}`, same);
    if (done !== undefined) closeDialog();
  }
  return html`<${Dialog} title=${`Tag ${plain(at)}`}>
    <form onsubmit=${submit}>
      <div class="form">
        <label>name <input required autofocus value=${name} oninput=${(event) => setName(event.target.value)} /></label>
        <label>message <input value=${message} placeholder="optional" oninput=${(event) => setMessage(event.target.value)} /></label>
      </div>
      <p class="muted"><code>${plain(same)}</code></p>
      <footer><button type="button" onclick=${closeDialog}>Cancel</button><button class="main">Tag</button></footer>
    </form>
  </${Dialog}>`;
}
