// Dialogs that start something: a fork of a state, or a new simulation.
import { html, useState } from "../vendor/preact.js";
import { get, isMissing, session } from "../core/api.js";
import { count, plain } from "../core/format.js";
import { useCalm, useLoad } from "../core/load.js";
import { runs, simulations } from "../core/runs.js";
import { useStore } from "../core/store.js";
import { closeDialog, Dialog, openDialog } from "../parts/dialog.js";
import { Input, readField, shownIn } from "../parts/form.js";
import { fail } from "../parts/notice.js";
import { commandOf, freeName, partOfName, readList, whyNot } from "./start/draft.js";
import { How, Name, Refusal, Same, Seed, Sweep, When, Why } from "./start/pieces.js";
import { useSend } from "./start/send.js";
import { presentSettings, settingField, Settings, useSettings } from "./start/settings.js";
import { StartDialog } from "./start/new.js";

const BRANCH = "";
const PRESET = "preset/";
const PAUSE = 200;

/** Fork a run at a step, its newest if none is given. @param {string} name @param {number | null} [step] */
export function openFork(name, step = null) {
  const run = runs.value?.get(name);
  if (!run) return fail(new Error(`there is no run ${name} any more`));
  const at = step ?? run.step; // a run that grows is forked where it was when this was asked for
  return openDialog(() => html`<${ForkDialog} key=${`${name}@${at}`} run=${run} first=${at} />`);
}

/** Start a new simulation. @param {string} [type] */
export function openStart(type) {
  openDialog(() => html`<${StartDialog} key="start" first=${type ?? null} />`);
}

/** @param {{run: import("../core/runs.js").Run, first: number | null}} props */
function ForkDialog({ run, first }) {
  const known = useStore(runs) ?? new Map();
  const waiting = useStore(simulations, (all) => [...all.values()].filter((each) => each.phase === "queued").length);
  const may = useStore(session);
  const types = useLoad((signal) => get("types", "", {}, { signal }), []);
  const canStart = Boolean(types.data?.some((each) => each.form || each.error));
  const ownType = run.metadata?.simulation?.type ?? null;

  const [name, setName] = useState(() => freeName(run.name, known));
  const [step, setStep] = useState(first === null ? "" : String(first));
  const [chosen, setType] = useState(/** @type {string | null} */ (null));
  const [preset, setPreset] = useState("");
  const [seed, setSeed] = useState("");
  const [swept, setSwept] = useState({ path: "", text: "" });
  const [isQueued, setQueued] = useState(false);
  const sending = useSend();

  const isReading = !types.data && !types.error; // until then nobody knows what would be started
  const type = chosen ?? (canStart && ownType ? ownType : BRANCH);
  const stepNow = useCalm(/^\d+$/.test(step) && run.oid ? step : null, PAUSE);
  const inForce = useLoad((signal) => get("inputs", run.name, { step: stepNow }, { signal }).catch((problem) => {
    if (isMissing(problem)) return null; // an older server does not know
    throw problem;
  }), [stepNow]);
  const present = presentSettings({ ...run, config: inForce.data?.config ?? run.config }, types.data?.find((each) => each.name === type));
  const settings = useSettings(present);
  const stepField = { path: "step", keys: ["step"], kind: /** @type {const} */ ("integer"), isRequired: true, minimum: 0, maximum: run.step ?? 0 };
  const stepRead = run.oid ? readField(stepField, step) : {};
  const seedRead = readField(Seed.field, seed);
  const list = swept.path ? readList(settingField(present, swept.path), swept.text) : null;
  const sweep = list?.values ? { path: swept.path, values: list.values } : null;
  const names = sweep ? sweep.values.map((value) => `${name}/${partOfName(value)}`) : [name];
  const nameError = names.map((each) => whyNot(name && each, known.keys())).find(Boolean) ?? "";
  const at = run.oid ? `${run.name}@${stepRead.value ?? step}` : run.name;
  const draft = {
    name, at, type: type === BRANCH ? null : type, isOwnType: type === ownType, preset: null,
    seed: /** @type {number | null} */ (seedRead.value ?? null), overrides: settings.values, sweep, isQueued: isQueued || Boolean(swept.path),
  };
  const isGood = !nameError && !stepRead.error && !seedRead.error && !Object.keys(settings.errors).length && (!swept.path || sweep) && may?.can_write && !isReading;

  function submit(event) {
    event.preventDefault();
    if (isGood) sending.start(draft);
  }
  const sweepOver = (path) => {
    settings.remove(path); // it has several values instead
    setSwept((before) => ({ ...before, path }));
  };
  const usePreset = (chosenName) => {
    setPreset(chosenName);
    const from = known.get(chosenName);
    const fields = from ? [...presentSettings(from, null).values()] : [];
    settings.replace(Object.fromEntries(fields.map((field) => [field.path, shownIn(settingField(present, field.path), field.given)])));
  };
  const presets = [...known.keys()].filter((each) => each.startsWith(PRESET) && each !== run.name);
  const refusedName = sending.error?.record?.name && names.includes(sending.error.record.name);
  const action = draft.type === null ? (sweep ? `Branch ${count(names.length)} times` : "Branch") : draft.isQueued ? "Fork & queue" : "Fork & start";

  return html`<${Dialog} title=${`Fork ${plain(run.name)}${run.oid ? `@${step}` : ""}`} isWide>
    <form class="start" onsubmit=${submit} novalidate>
      <${Why} may=${may} types=${types} canStart=${canStart} branch="A branch without a simulation can be made." />
      <div class="row">
        <${Name} value=${name} error=${nameError || (refusedName ? sending.error.message : undefined)} onValue=${setName} />
        ${run.oid && html`<${Input} id="start-step" label="at step" field=${stepField} text=${step} error=${stepRead.error} onText=${setStep} />`}
        <div class="field"><label for="start-type">type</label><select id="start-type" value=${isReading ? "?" : type} onchange=${(event) => setType(event.target.value)}>
          ${isReading && html`<option value="?" selected>reading the types …</option>`}
          ${canStart && types.data.map((each) => html`<option value=${each.name} selected=${each.name === type}>${plain(each.name)}${each.name === ownType ? ` (as ${plain(run.name)})` : ""}</option>`)}
          <option value=${BRANCH} selected=${!isReading && type === BRANCH}>a branch only, no simulation</option></select></div>
        ${presets.length > 0 && html`<div class="field"><label for="start-preset">preset</label><select id="start-preset" value=${preset} onchange=${(event) => usePreset(event.target.value)}>
          <option value="">none</option>${presets.map((each) => html`<option value=${each}>${plain(each.slice(PRESET.length))}</option>`)}</select></div>`}
        <${Seed} text=${seed} error=${seedRead.error} hint="empty: as it was" onText=${setSeed} />
      </div>
      ${inForce.error && html`<p class="error" role="alert">The settings in force at this step cannot be read: ${plain(inForce.error.message)}. Those shown are the run's.</p>`}
      <${Settings} run=${run} known=${present} settings=${settings} refused=${sending.error} />
      <${Sweep} paths=${[...new Set([...present.keys(), ...Object.keys(settings.texts), ...(swept.path ? [swept.path] : [])])]} path=${swept.path} text=${swept.text} error=${swept.text ? list?.error : undefined}
        names=${sweep ? names : []} onPath=${sweepOver} onText=${(text) => setSwept((before) => ({ ...before, text }))} />
      ${run.oid && draft.type !== null && html`<${How} at=${stepRead.error ? null : at} />`}
      ${draft.type !== null && html`<${When} isQueued=${draft.isQueued} mustQueue=${Boolean(swept.path)} waiting=${waiting} workers=${may?.workers} onQueued=${setQueued} />`}
      <${Same} text=${commandOf(draft)} />
      <${Refusal} sending=${sending} />
      <footer><button type="button" onclick=${closeDialog}>Cancel</button>
        <button class="main" disabled=${!isGood || sending.isBusy}>${sending.isBusy ? "…" : action}</button></footer>
    </form>
  </${Dialog}>`;
}
