// The control of a simulation: how it stands, what it asks, and what people ask of it.
import { html, useState } from "../../vendor/preact.js";
import { get, session } from "../../core/api.js";
import { count, number, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { runs } from "../../core/runs.js";
import { useStore } from "../../core/store.js";
import { openFork } from "../fork.js";
import { Phase, Progress } from "../../parts/phase.js";
import { act, restart } from "../control/act.js";
import { Lines } from "../control/lines.js";
import { Queries } from "../control/queries.js";
import { Question } from "../control/question.js";
import { LiveSettings } from "../control/settings.js";
import { useClock, useInputs, useIsLost, useStanding } from "../control/standing.js";
import { Usage } from "../control/usage.js";

const LATE = 5;
const LOOKS = ["running", "paused", "asking", "starting"];

/** Control of the simulation of a run. @param {{name: string}} props */
export function Control({ name }) {
  const { standing, usage, error } = useStanding(name);
  const [done, setDone] = useState(0);
  const inputs = useInputs(name, done);
  const run = useStore(runs, (all) => all?.get(name));
  const may = useStore(session);
  const types = useLoad((signal) => get("types", "", {}, { signal }), []);
  const isLost = useIsLost();
  if (!standing) return error ? html`<p class="empty">${plain(error.message)}</p>` : html`<p class="empty" role="status">looking …</p>`;
  const isOver = standing.phase === "ended" || Boolean(standing.outcome);
  const canAct = Boolean(may?.can_write && types.data?.some((each) => each.form || each.error));
  const type = types.data?.find((each) => each.name === standing.type) ?? null;
  const why = !may?.can_write ? (may?.level === "view" ? "This token only reads: nothing can be asked of the simulation here." : "This server only reads.")
    : types.data && !canAct ? "This server starts no simulations, and asks nothing of them: its repository is not trusted here (simgit trust), or in memory." : "";
  const again = () => setDone((times) => times + 1);
  return html`<div class="control">
    <section class="panel" aria-label="Control">
      <header class="tools">
        <${Phase} run=${run} simulation=${standing} /> <span class="muted">type ${plain(standing.type)}</span>
        ${!isOver && html`<${Looked} standing=${standing} isLost=${isLost} />`}
        ${!isOver && html`<${Progress} progress=${standing.phase === "running" ? standing.progress : standing.progress && { ...standing.progress, left: null }} />`}
        ${standing.step !== null && html`<span class="muted">step ${count(standing.step)}</span>`}
        <span class="spread"></span>
        ${canAct && html`<${Actions} name=${name} standing=${standing} run=${run} isOver=${isOver} />`}
      </header>
      ${standing.reason && html`<p class="reason">${isOver ? `${plain(standing.outcome)}: ` : ""}${plain(standing.reason)}</p>`}
      ${why && html`<p class="muted" role="status">${why}</p>`}
      ${error && html`<p class="said" role="alert">${plain(error.message)}</p>`}
      ${standing.answered && !standing.questions.length && html`<p class="muted" role="status">“${plain(standing.answered.question)}” was answered${byWhom(standing.answered.by)}: <code>${plain(pairsOf(standing.answered.value))}</code></p>`}
      ${standing.questions.map((each) => html`<${Question} key=${each.number} name=${name} question=${each} canAct=${canAct} onDone=${again} />`)}
    </section>
    <div class="grid">
      <${LiveSettings} name=${name} type=${type} inputs=${inputs} canAct=${canAct} isOver=${isOver} onDone=${again} />
      ${!isOver && html`<${Queries} name=${name} names=${standing.queries} canAct=${canAct} phase=${standing.phase} />`}
      <${Done} inputs=${inputs} />
      <${Usage} samples=${usage} isOver=${isOver} />
    </div>
    <${Lines} name=${name} isOver=${isOver} />
  </div>`;
}

/** When it looked the last time; a warning if that is long ago. */
function Looked({ standing, isLost }) {
  const isQueued = standing.phase === "queued";
  useClock(!isQueued, 1000);
  if (isQueued) return html`<span class="muted">waits for a worker, number ${count(standing.number)}</span>`;
  if (isLost) return html`<span class="warning" role="status">⚠ no connection: this is how it was</span>`;
  if (standing.phase === "frozen") return html`<span class="warning" role="status">⚠ frozen: it looks at nothing until it resumes</span>`;
  if (standing.looked === null) return LOOKS.includes(standing.phase) && standing.phase !== "starting" ? html`<span class="warning" role="status">⚠ its process does not answer</span>` : null;
  if (standing.looked >= LATE && standing.phase === "running") return html`<span class="warning" role="status">⚠ has not looked for ${number(standing.looked, 2)} s</span>`;
  return standing.phase === "running" ? html`<span class="muted">looked ${standing.looked < 0.1 ? "just now" : `${number(standing.looked, 1)} s ago`}</span>` : null;
}

/** What can be done now. */
function Actions({ name, standing, run, isOver }) {
  const [busy, setBusy] = useState("");
  const doing = (what, work) => async () => {
    if (busy) return;
    setBusy(what);
    await work();
    setBusy("");
  };
  const button = (what, text, work, isOn = true, kind = "") => isOn &&
    html`<button type="button" class=${kind} disabled=${Boolean(busy)} onclick=${doing(what, work)}>${busy === what ? `${text} …` : text}</button>`;
  const phase = standing.phase;
  const runs_ = ["running", "asking"].includes(phase);
  return html`<span class="buttons" role="group" aria-label="Simulation">
    ${button("pause", "Pause", () => act("pause", name), runs_)}
    ${button("resume", "Resume", () => act("resume", name), ["paused", "frozen"].includes(phase), "main")}
    ${button("freeze", "Freeze", () => act("freeze", name), runs_)}
    ${button("stop", phase === "queued" ? "Take out of the queue" : "Stop", () => act("stop", name), !isOver)}
    ${button("kill", "Kill", () => act("kill", name), !isOver && phase !== "queued")}
    ${button("restart", "Restart", () => restart(name), isOver && run?.status !== "completed", "main")}
    ${isOver && html`<button type="button" onclick=${() => openFork(name)}>Fork</button>`}
  </span>`;
}

/** What people did, and from which step it applies. */
function Done({ inputs }) {
  if (!inputs) return null;
  const tell = ({ kind, question, value, overrides, by }) => html`${kind === "answer"
    ? html`answered “${plain(question)}”: <code>${plain(pairsOf(value))}</code>`
    : html`<code>${plain(pairsOf(flatOf(overrides)))}</code>`}
    <span class="muted">${byWhom(by)}</span>`;
  return html`<section class="panel" aria-label="What people did">
    <h2>What people did</h2>
    ${inputs.isMissing ? html`<p class="muted">This server does not list it.</p>` : !inputs.inputs.length ? html`<p class="muted">nothing yet: answers and changed settings are recorded, and given again when the run is continued or forked</p>`
      : html`<ol class="done" aria-live="polite">${inputs.inputs.map((each, index) => html`<li key=${index}><span class="muted">from step ${count(each.from)}</span> ${tell(each)}</li>`)}</ol>`}
  </section>`;
}

const pairsOf = (values) => Object.entries(values ?? {}).map(([key, each]) => `${key} ${JSON.stringify(each)}`).join(", ");
const byWhom = (by) => (by === "default" ? " by nobody: the default" : by ? ` by ${plain(by)}` : "");

/** Return nested settings by dotted keys. */
export function flatOf(values, above = "") {
  return Object.assign({}, ...Object.entries(values ?? {}).map(([key, value]) => (value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length && !("$array" in value)
    ? flatOf(value, `${above}${key}.`) : { [above + key]: value })));
}
