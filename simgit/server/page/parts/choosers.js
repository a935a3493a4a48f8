// What the runs are grouped by, and which columns are shown: settings that differ, fields and measures.
import { html } from "../vendor/preact.js";
import { plain } from "../core/format.js";
import { place, setQuery } from "../core/router.js";
import { runs } from "../core/runs.js";
import { useStore } from "../core/store.js";
import { choices, FIELDS, MEASURES, settingsOf } from "../core/words.js";
import { Combobox } from "./combobox.js";
import { Menu } from "./menu.js";

const GROUPS = ["status", "parent", "seed"];
const SHOWN = new Set(["name", "status", "step", "episodes", "return"]); // always in the table
const COMMA = /,(?![^()]*\))/;

/** Return the names in a list of columns; commas within a measure part nothing. @param {string} [text] */
export const namesIn = (text) => (text ?? "").split(COMMA).map((each) => each.trim()).filter(Boolean);

/** The setting by which the runs are grouped. */
export function GroupChoice() {
  const group = useStore(place, ({ query }) => query.group ?? "");
  const settings = useSettings().filter(({ differs }) => differs).map(({ name }) => name);
  const all = [...settings, ...GROUPS];
  return html`<label>group <select value=${group} onchange=${(event) => setQuery({ group: event.target.value || null })}>
    <option value="">no group</option>
    ${[...all, ...(group && !all.includes(group) ? [group] : [])].map((name) => html`<option key=${name} value=${name}>${plain(name)}</option>`)}
  </select></label>`;
}

/** The columns that are shown besides those that every table of runs has. */
export function ColumnChoice() {
  const shown = namesIn(useStore(place, ({ query }) => query.columns));
  const settings = useSettings();
  const differing = settings.filter(({ differs }) => differs).map(({ name }) => name);
  const set = (next) => setQuery({ columns: next.join(",") || null });
  const toggle = (name) => set(shown.includes(name) ? shown.filter((each) => each !== name) : [...shown, name]);
  const offered = [...settings.map(({ name }) => ({ text: name, note: "setting" })), ...FIELDS.map((text) => ({ text, note: "field" })), ...MEASURES.map((text) => ({ text, note: "measure" }))];
  const measures = [...MEASURES.slice(0, 4), ...FIELDS.filter((name) => ["seed", "states", "created", "ended"].includes(name))];
  const others = shown.filter((name) => !differing.includes(name) && !measures.includes(name));
  const boxes = (names) => names.map((name) => html`<label key=${name}><input type="checkbox" checked=${shown.includes(name)} onchange=${() => toggle(name)} /> ${plain(name)}</label>`);
  return html`<${Menu} label=${shown.length ? `columns (${shown.length})` : "columns"} name="Columns">
    ${differing.length > 0 && html`<b>Settings that differ</b>${boxes(differing)}`}
    <b>Measures and fields</b>${boxes([...measures, ...others])}
    <label>other <${Combobox} label="Another column" value="" takesAll placeholder="mean(info.loss, 10)"
      offer=${(text) => choices(text, offered.filter(({ text: name }) => !SHOWN.has(name) && !shown.includes(name)))}
      onSubmit=${(text) => text && !shown.includes(text) && set([...shown, text])} /></label>
    ${shown.length > 0 && html`<button type="button" onclick=${() => set([])}>Show none of these</button>`}
  </${Menu}>`;
}

let read = { configs: [], settings: [] };

/** Settings of all runs; a run that only grows has the ones that it had. */
function useSettings() {
  const all = [...(useStore(runs)?.values() ?? [])];
  const isSame = all.length === read.configs.length && all.every((run, index) => run.config === read.configs[index]);
  if (!isSame) read = { configs: all.map((run) => run.config), settings: settingsOf(all) };
  return read.settings;
}
