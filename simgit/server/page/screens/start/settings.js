// Settings that differ from those of the run that is forked: only these are stored.
import { html, useState } from "../../vendor/preact.js";
import { json, plain } from "../../core/format.js";
import { runs } from "../../core/runs.js";
import { exampleSchema, fieldsOf, Input, readField, shownIn } from "../../parts/form.js";

/** Return the settings that a fork of a run has, with their present values. @param {any} run @param {any} type of GET /v1/types, or null */
export function presentSettings(run, type) {
  const known = new Map(fieldsOf(type?.form).map((field) => [field.path, field]));
  for (const field of fieldsOf(exampleSchema(run.config ?? {}))) {
    const there = known.get(field.path);
    known.set(field.path, there ? { ...there, given: field.given } : field);
  }
  return known;
}

/** Return the field of a setting: one that is there, or a new one. @param {Map<string, any>} known @param {string} path */
export const settingField = (known, path) => known.get(path) ?? { path, keys: path.split("."), kind: "json", isRequired: true };

/** Return where a setting of a run is from. @param {any} run @param {string} path */
function originOf(run, path, given) {
  const own = fieldsOf(exampleSchema(run.config ?? {})).find((field) => field.path === path);
  if (own && JSON.stringify(own.given) !== JSON.stringify(given)) return "a change while it ran";
  for (let at = run, depth = 0; at && depth < 100; at = runs.value?.get(at.parent), depth++) {
    if (fieldsOf(exampleSchema(at.overrides ?? {})).some((field) => field.path === path)) return at.name;
  }
  return null;
}

/** Keep settings that differ. @param {Map<string, any>} known */
export function useSettings(known) {
  const [texts, set] = useState(/** @type {Record<string, string>} */ ({}));
  const read = Object.entries(texts).map(([path, text]) => [path, readField(settingField(known, path), text)]);
  return {
    texts,
    errors: Object.fromEntries(read.filter(([, found]) => found.error).map(([path, found]) => [path, found.error])),
    values: Object.fromEntries(read.filter(([, found]) => "value" in found).map(([path, found]) => [path, found.value])),
    set: (path, text) => set((before) => ({ ...before, [path]: text })),
    remove: (path) => set(({ [path]: _, ...others }) => others),
    /** @param {Record<string, string>} all */
    replace: (all) => set(all),
  };
}

/**
 * @param {{run?: any, known: Map<string, any>, settings: ReturnType<typeof useSettings>, refused: any, legend?: string, none?: string}} props
 *   run: whose settings they are now
 */
export function Settings({ run, legend = "Settings that differ", none = `none: all are as in ${run?.name}`, known, settings, refused }) {
  const [name, setName] = useState("");
  const add = (path) => {
    setName("");
    if (!path || path in settings.texts) return;
    const field = settingField(known, path);
    settings.set(path, shownIn(field, field.given));
    requestAnimationFrame(() => document.getElementById(`setting-${path}`)?.focus());
  };
  const rows = Object.entries(settings.texts);
  return html`<fieldset class="setting-group"><legend>${legend}</legend>
    ${!rows.length && html`<p class="muted">${plain(none)}</p>`}
    ${rows.map(([path, text]) => {
      const field = settingField(known, path);
      const origin = run ? originOf(run, path, field.given) : null;
      return html`<div class="setting" key=${path}>
        <span class="mono">${plain(path)}</span>
        <span class="muted">${field.given === undefined ? "new" : `${json(field.given, 40) || '""'}${origin ? ` (from ${plain(origin)})` : ""}`}</span>
        <span aria-hidden="true">→</span>
        <${Input} id=${`setting-${path}`} label=${`${path}, new value`} isUnseen field=${field} text=${text}
          error=${settings.errors[path] ?? (refused?.record?.path === path ? refused.message : undefined)} onText=${(value) => settings.set(path, value)} />
        <button type="button" class="quiet" aria-label=${`Leave ${path} as it is`} onclick=${() => settings.remove(path)}>✕</button>
      </div>`;
    })}
    <div class="setting-new"><input list="setting-names" aria-label="Add a setting" placeholder="+ setting" autocomplete="off" spellcheck=${false} value=${name}
        oninput=${(event) => (known.has(event.target.value) && event.inputType !== "insertText" ? add(event.target.value) : setName(event.target.value))}
        onkeydown=${(event) => { if (event.key === "Enter") { event.preventDefault(); add(name.trim()); } }} />
      <button type="button" disabled=${!name.trim()} onclick=${() => add(name.trim())}>Add</button>
      <datalist id="setting-names">${[...known.keys()].filter((path) => !(path in settings.texts)).map((path) => html`<option value=${path}>${json(known.get(path).given, 40)}</option>`)}</datalist></div>
  </fieldset>`;
}
