// A form from a JSON Schema: the settings of a type, the answer to a question, a setting to change.
import { html, useMemo, useState } from "../vendor/preact.js";
import { json, number, plain } from "../core/format.js";

/**
 * A field of a form; objects with members are several, by dotted keys.
 * @typedef {{path: string, keys: string[], kind: "number" | "integer" | "boolean" | "choice" | "string" | "json",
 *   type?: string, given?: unknown, isRequired: boolean, unit?: string, help?: string,
 *   minimum?: number, maximum?: number, choices?: unknown[]}} Field
 */

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const typeOf = (value) => (Array.isArray(value) ? "array" : value === null ? undefined : typeof value);

/** Return the fields of a JSON Schema of an object. @param {any} schema @returns {Field[]} */
export function fieldsOf(schema, keys = []) {
  const required = new Set(schema?.required ?? []);
  return Object.entries(schema?.properties ?? {}).flatMap(([name, each]) => {
    const path = [...keys, name];
    if (isObject(each.properties)) return fieldsOf(each, path);
    if (isObject(each.default) && Object.keys(each.default).length && !("$array" in each.default)) {
      return fieldsOf(exampleSchema(each.default), path);
    }
    return [fieldOf(path, each, required.has(name))];
  });
}

/** Return the JSON Schema of values like these. @param {Record<string, unknown>} values */
export const exampleSchema = (values) => ({
  type: "object",
  properties: Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { type: typeOf(value), default: value }])),
  required: Object.keys(values),
});

function fieldOf(keys, schema, isRequired) {
  const kinds = { number: "number", integer: "integer", boolean: "boolean", string: "string" };
  return {
    path: keys.join("."), keys, type: schema.type, isRequired,
    kind: Array.isArray(schema.enum) ? "choice" : (kinds[schema.type] ?? "json"),
    given: schema.default, unit: schema.unit, help: schema.description,
    minimum: schema.minimum, maximum: schema.maximum, choices: schema.enum,
  };
}

/** Return how a value stands in its field. @param {Field} field @param {unknown} value */
export function shownIn(field, value) {
  if (value === undefined) return "";
  return field.kind === "string" && typeof value === "string" ? value : JSON.stringify(value);
}

/**
 * Return the value that a text means, or why it means none.
 * @param {Field} field @param {string} text @returns {{value?: unknown, error?: string}} neither if it is left out
 */
export function readField(field, text) {
  const trimmed = text.trim();
  if (field.kind === "string") return text === "" && field.given === undefined && !field.isRequired ? {} : { value: text };
  if (trimmed === "") return field.isRequired || field.given !== undefined ? { error: "a value is missing" } : {};
  if (field.kind === "number" || field.kind === "integer") {
    const value = Number(trimmed.replace("−", "-"));
    if (!Number.isFinite(value)) return { error: `not a number: ${trimmed}` };
    if (field.kind === "integer" && !Number.isInteger(value)) return { error: `not a whole number: ${trimmed}` };
    if (field.minimum !== undefined && value < field.minimum) return { error: `at least ${number(field.minimum)}` };
    if (field.maximum !== undefined && value > field.maximum) return { error: `at most ${number(field.maximum)}` };
    return { value };
  }
  let value;
  try {
    value = JSON.parse(trimmed);
  } catch (error) {
    return field.type ? { error: `not JSON: ${error.message}` } : { value: text }; // as on the command line
  }
  if (field.type === "array" && !Array.isArray(value)) return { error: "not a JSON array, such as [1, 2]" };
  if (field.type === "object" && !isObject(value)) return { error: 'not a JSON object, such as {"a": 1}' };
  return { value };
}

/** Return values as nested objects. @param {[string[], unknown][]} pairs keys and values */
export function nest(pairs) {
  const made = Object.create(null); // a key may be "__proto__": the names are a stranger's
  for (const [keys, value] of pairs) {
    let at = made;
    for (const key of keys.slice(0, -1)) at = at[key] ??= Object.create(null);
    at[keys[keys.length - 1]] = value;
  }
  return made;
}

/**
 * Keep what is written in fields; they begin with their defaults.
 * @param {Field[]} fields
 */
export function useForm(fields) {
  const [texts, setTexts] = useState(/** @type {Record<string, string>} */ ({}));
  const [problems, setProblems] = useState(/** @type {Record<string, string>} */ ({}));
  const textOf = (field) => texts[field.path] ?? shownIn(field, field.given);
  const read = fields.map((field) => ({ field, ...readField(field, textOf(field)) }));
  const said = Object.fromEntries(read.filter((each) => each.error).map((each) => [each.field.path, each.error]));
  const filled = read.filter((each) => "value" in each);
  return {
    fields, textOf,
    errors: { ...problems, ...Object.fromEntries(Object.entries(said).filter(([path]) => path in texts || problems[path])) },
    isGood: Object.keys(said).length === 0,
    /** All values, nested. */
    values: nest(filled.map((each) => [each.field.keys, each.value])),
    /** Values that are not the defaults, by dotted keys. */
    changed: Object.fromEntries(filled.filter((each) => JSON.stringify(each.value) !== JSON.stringify(each.field.given)).map((each) => [each.field.path, each.value])),
    set(field, text) {
      setTexts((before) => ({ ...before, [field.path]: text }));
      setProblems(({ [field.path]: _, ...others }) => others);
    },
    clear: () => { setTexts({}); setProblems({}); },
    /** Show all errors; return whether there are none. */
    check() {
      setProblems(said);
      return Object.keys(said).length === 0;
    },
    /** Show what the server says about a field; return whether it named one. @param {any} problem */
    refuse(problem) {
      const path = fields.find((field) => field.path === problem?.record?.path)?.path;
      if (path) setProblems({ [path]: problem.message });
      return path !== undefined;
    },
  };
}

/** The fields of a form, each with its label, unit, bounds and error. @param {{form: ReturnType<typeof useForm>, prefix: string, isMarked?: boolean}} props */
export function Fields({ form, prefix, isMarked }) {
  return html`<div class="fields">${form.fields.map((field) =>
    html`<${Input} key=${field.path} id=${`${prefix}-${field.path}`} field=${field} label=${field.path} text=${form.textOf(field)} error=${form.errors[field.path]}
      isChanged=${isMarked && field.path in form.changed} onText=${(text) => form.set(field, text)} />`)}</div>`;
}

/**
 * One field. @param {{id: string, field: Field, label: string, text: string, error?: string, isChanged?: boolean, isUnseen?: boolean, isFirst?: boolean,
 *   hint?: string, onText: (text: string) => void}} props isUnseen: the label is for screen readers; isFirst: a dialog begins here
 */
export function Input({ id, field, label, text, error, isChanged, isUnseen, isFirst, hint, onText }) {
  const note = useMemo(() => [hint, field.help, bounds(field), isChanged && field.given !== undefined ? `default ${json(field.given, 40) || '""'}` : ""].filter(Boolean).join("; "), [hint, field, isChanged]);
  const described = [note && `${id}-note`, error && `${id}-error`].filter(Boolean).join(" ");
  const common = { id, autofocus: isFirst, "aria-invalid": error ? "true" : null, "aria-describedby": described || null };
  const typed = (event) => onText(event.target.value);
  const control = field.kind === "boolean"
    ? html`<input ...${common} type="checkbox" checked=${text === "true"} onchange=${(event) => onText(String(event.target.checked))} />`
    : field.kind === "choice"
      ? html`<select ...${common} value=${text} onchange=${typed}>${(field.choices ?? []).map((each) => html`<option value=${JSON.stringify(each)}>${json(each)}</option>`)}</select>`
      : field.kind === "json" && field.type
        ? html`<textarea ...${common} class="mono" rows=${Math.min(6, text.split("\n").length)} spellcheck=${false} value=${text} oninput=${typed}></textarea>`
        : html`<input ...${common} class=${field.kind === "string" ? "" : "value"} inputmode=${field.kind === "number" || field.kind === "integer" ? "decimal" : null}
            autocomplete="off" spellcheck=${false} value=${text} oninput=${typed} />`;
  return html`<div class=${isChanged ? "field changed" : "field"}>
    <label for=${id} class=${isUnseen ? "unseen" : ""}>${plain(label)}</label>
    <span class="entry">${control}${field.unit && html` <span class="muted">${plain(field.unit)}</span>`}</span>
    ${note && html`<span id=${`${id}-note`} class="muted note">${plain(note)}</span>`}
    ${error && html`<span id=${`${id}-error`} class="said" role="alert">${plain(error)}</span>`}
  </div>`;
}

function bounds({ minimum, maximum }) {
  if (minimum !== undefined && maximum !== undefined) return `${number(minimum)} to ${number(maximum)}`;
  if (minimum !== undefined) return `at least ${number(minimum)}`;
  return maximum !== undefined ? `at most ${number(maximum)}` : "";
}
