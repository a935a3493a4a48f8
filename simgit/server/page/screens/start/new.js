// The dialog that starts a new simulation: a type, its settings, and when.
import { html, useState } from "../../vendor/preact.js";
import { get, session } from "../../core/api.js";
import { count, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { runs, simulations } from "../../core/runs.js";
import { useStore } from "../../core/store.js";
import { closeDialog, Dialog } from "../../parts/dialog.js";
import { Fields, fieldsOf, readField, useForm } from "../../parts/form.js";
import { commandOf, freeName, partOfName, readList, whyNot } from "./draft.js";
import { Name, Refusal, Same, Seed, Sweep, When, Why } from "./pieces.js";
import { useSend } from "./send.js";
import { presentSettings, settingField, Settings, useSettings } from "./settings.js";

const PRESET = "preset/";

/** @param {{first: string | null}} props */
export function StartDialog({ first }) {
  const may = useStore(session);
  const types = useLoad((signal) => get("types", "", {}, { signal }), []);
  const known = useStore(runs) ?? new Map();
  const [type, setType] = useState(first);
  const [preset, setPreset] = useState("");
  const canStart = Boolean(types.data?.some((each) => each.form || each.error));
  const presets = [...known.values()].filter((run) => run.name.startsWith(PRESET) && run.metadata?.simulation?.type);
  const used = presets.find((run) => run.name === preset) ?? null;
  const names = (types.data ?? []).map((each) => each.name);
  const now = used?.metadata.simulation.type ?? type ?? (names.includes("demo") ? "demo" : names[0]) ?? "";
  const found = types.data?.find((each) => each.name === now) ?? null;
  const choices = html`<div class="row">
    <div class="field"><label for="start-type">type</label><select id="start-type" disabled=${Boolean(used)} value=${now} onchange=${(event) => setType(event.target.value)}>
      ${names.map((each) => html`<option value=${each} selected=${each === now}>${plain(each)}</option>`)}</select></div>
    ${presets.length > 0 && html`<div class="field"><label for="start-preset">preset</label><select id="start-preset" value=${preset} onchange=${(event) => setPreset(event.target.value)}>
      <option value="">none</option>${presets.map((run) => html`<option value=${run.name}>${plain(run.name.slice(PRESET.length))}</option>`)}</select></div>`}
  </div>`;
  return html`<${Dialog} title="Start a simulation" isWide><div class="start">
    <${Why} may=${may} types=${types} canStart=${canStart} branch="Runs that are there can be branched: f on a run." />
    ${!types.data && !types.error && html`<p class="muted" role="status">reading the types …</p>`}
    ${types.data && choices}
    ${found && html`<p class="muted about"><span>${plain(found.help)}</span> ${found.error && html`<span class="said" role="alert">It cannot be started: ${plain(found.error)}</span>`}</p>
      <${StartForm} key=${`${now} ${preset}`} type=${found} preset=${used} known=${known} isAllowed=${Boolean(may?.can_write && canStart && !found.error)} />`}
  </div></${Dialog}>`;
}

function StartForm({ type, preset, known, isAllowed }) {
  const workers = useStore(session, (value) => value?.workers);
  const waiting = useStore(simulations, (all) => [...all.values()].filter((each) => each.phase === "queued").length);
  const [fields] = useState(() => (preset ? [...presentSettings(preset, type).values()] : fieldsOf(type.form)));
  const form = useForm(fields);
  const [name, setName] = useState(() => freeName(type.name, known, 1));
  const [seed, setSeed] = useState("");
  const further = useSettings(new Map()); // such as an agent's, which the form of the type does not have
  const [swept, setSwept] = useState({ path: "", text: "" });
  const [isQueued, setQueued] = useState(false);
  const sending = useSend();

  const seedRead = readField(Seed.field, seed);
  const byPath = new Map(fields.map((field) => [field.path, field]));
  const list = swept.path ? readList(settingField(byPath, swept.path), swept.text) : null;
  const sweep = list?.values ? { path: swept.path, values: list.values } : null;
  const names = sweep ? sweep.values.map((value) => `${name}/${partOfName(value)}`) : [name];
  const nameError = names.map((each) => whyNot(name && each, known.keys())).find(Boolean) ?? "";
  const { [swept.path]: _, ...others } = { ...form.changed, ...further.values };
  const draft = {
    name, at: null, type: type.name, isOwnType: Boolean(preset), preset: preset ? preset.name.slice(PRESET.length) : null,
    seed: /** @type {number | null} */ (seedRead.value ?? null), overrides: others, sweep, isQueued: isQueued || Boolean(swept.path),
  };
  const isGood = !nameError && !seedRead.error && !Object.keys(further.errors).length && (!swept.path || sweep) && isAllowed;
  const refusedName = sending.error?.record?.name && names.includes(sending.error.record.name);
  function submit(event) {
    event.preventDefault();
    if (form.check() && isGood) sending.start(draft);
  }
  return html`<form class="start" onsubmit=${submit} novalidate>
    <div class="row">
      <${Name} value=${name} error=${nameError || (refusedName ? sending.error.message : undefined)} onValue=${setName} />
      <${Seed} text=${seed} error=${seedRead.error} hint="empty for none" onText=${setSeed} />
    </div>
    ${fields.length > 0 && html`<fieldset class="setting-group"><legend>Settings</legend><${Fields} form=${form} prefix="setting" isMarked /></fieldset>`}
    <${Settings} legend="Further settings" none="none but those above" known=${new Map()} settings=${further} refused=${sending.error} />
    <${Sweep} paths=${[...fields.map((field) => field.path), ...Object.keys(further.texts)]} path=${swept.path} text=${swept.text} error=${swept.text ? list?.error : undefined}
      names=${sweep ? names : []} onPath=${(path) => setSwept((before) => ({ ...before, path }))} onText=${(text) => setSwept((before) => ({ ...before, text }))} />
    <${When} isQueued=${draft.isQueued} mustQueue=${Boolean(swept.path)} waiting=${waiting} workers=${workers} onQueued=${setQueued} />
    <${Same} text=${commandOf(draft)} />
    <${Refusal} sending=${sending} />
    <footer><button type="button" onclick=${closeDialog}>Cancel</button>
      <button class="main" disabled=${!isGood || sending.isBusy}>${sending.isBusy ? "…" : draft.isQueued ? (sweep ? `Queue ${count(names.length)} runs` : "Queue") : "Start"}</button></footer>
  </form>`;
}
