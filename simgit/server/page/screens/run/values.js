// Recorded values as JSON has them (docs/json.md), for people: numbers in columns, trees, arrays by their shape.
import { html, useState } from "../../vendor/preact.js";
import { count, number, plain, plural } from "../../core/format.js";

const MOST = 64; // elements of an array that are shown at once
const DEEPER = 50; // members of a tree that are shown at once
const KINDS = { f: "float", i: "int", u: "uint", b: "bool", c: "complex", M: "datetime", m: "timedelta", U: "text", S: "bytes" };

/** Return the name of a type of NumPy. @param {string} dtype such as "<f4" */
export function typeName(dtype) {
  const found = /^[<>|=]?([a-zA-Z])(\d+)?/.exec(dtype ?? "");
  if (!found || !(found[1] in KINDS)) return plain(dtype);
  return found[1] === "b" ? "bool" : `${KINDS[found[1]]}${found[2] ? Number(found[2]) * 8 : ""}`;
}

/** Return the elements of an array in a row, its shape and type; null if a value is no array. */
export function arrayOf(value) {
  if (!value || typeof value !== "object" || !("$array" in value)) return null;
  const data = value.$array;
  const shape = value.shape ?? shapeOf(data);
  const flat = Array.isArray(data) ? data.flat(Infinity) : data && typeof data === "object" ? null : [data];
  return { flat, shape, dtype: value.dtype };
}

const shapeOf = (data) => (Array.isArray(data) ? [data.length, ...(data.length ? shapeOf(data[0]) : [])] : []);

/** Return a number of JSON as a number; null if it is none. */
export function numeric(value) {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return Number(value);
  if (value && typeof value === "object") {
    if ("$float" in value) return { nan: NaN, inf: Infinity, "-inf": -Infinity }[value.$float] ?? NaN;
    if ("$int" in value) return Number(value.$int);
    const array = "$array" in value ? arrayOf(value) : null;
    if (array?.flat && !array.shape.length) return numeric(array.flat[0]);
  }
  return null;
}

const said = (value) => (Number.isFinite(value) ? number(value) : plain(String(value).replace("Infinity", "∞").replace("-", "−")));

/** The difference to the parent; nothing where there is none. */
export function Delta({ now, before }) {
  const difference = now - before;
  if (!Number.isFinite(difference) || difference === 0) return html`<span class="delta same">${difference === 0 ? "=" : ""}</span>`;
  return html`<span class=${`delta ${difference > 0 ? "up" : "down"}`}>${difference > 0 ? "+" : ""}${number(difference, 3)}</span>`;
}

/** A value with its name and what changed since the parent. @param {{name: string, value: any, before?: any, depth?: number}} props */
export function Value({ name, value, before, depth = 0 }) {
  const array = arrayOf(value);
  const plainNumber = numeric(value);
  if (plainNumber !== null && typeof value !== "boolean") {
    const earlier = numeric(before);
    return html`<${Line} name=${name}><b class="scalar">${value?.$int ? plain(value.$int) : said(plainNumber)}</b>
      ${earlier !== null && html` <${Delta} now=${plainNumber} before=${earlier} />`}</${Line}>`;
  }
  if (array) return html`<${Numbers} name=${name} array=${array} before=${arrayOf(before)} />`;
  if (value && typeof value === "object") return html`<${Branch} name=${name} value=${value} before=${before} depth=${depth} />`;
  const isNew = before !== undefined && before !== value;
  return html`<${Line} name=${name}><span class="scalar text">${value === null ? html`<span class="muted">none</span>` : plain(value)}</span>
    ${isNew && html` <span class="delta changed">was ${plain(before ?? "none")}</span>`}</${Line}>`;
}

const Line = ({ name, children }) => html`<div class="value"><span class="name">${plain(name)}</span><span class="content">${children}</span></div>`;

/** Numbers of an array in columns; a long one by what it has, until it is opened. */
function Numbers({ name, array, before }) {
  const { flat, shape, dtype } = array;
  const [more, setMore] = useState(0);
  const label = `${typeName(dtype)}${shape.length ? ` [${shape.map(count).join(" × ")}]` : ""}`;
  if (!flat) return html`<${Line} name=${name}><span class="muted">${label}, stored as bytes</span></${Line}>`;
  const isLong = flat.length > MOST;
  const numbers = flat.map(numeric);
  const isNumbers = numbers.every((each) => each !== null);
  const earlier = before?.flat?.length === flat.length ? before.flat.map(numeric) : null;
  const shown = isLong ? flat.slice(0, more) : flat;
  const changed = earlier ? numbers.filter((each, index) => !Object.is(each, earlier[index])).length : null;
  return html`<div class="value wide"><span class="name">${plain(name)} <span class="muted">${label}</span></span>
    ${isLong && html`<span class="content">${isNumbers && summary(numbers)}${changed !== null && html` <span class="muted">${plural(changed, "element")} changed</span>`}
      ${more < flat.length && html` <button type="button" class="quiet" onclick=${() => setMore(more + MOST)}>${more ? "Show more" : "Show numbers"} of ${plain(name)}</button>`}</span>`}
    ${shown.length > 0 && html`<ol class="numbers" aria-label=${`Elements of ${name}`}>${shown.map((each, index) => html`<li key=${index}>
      <span class="index">${place(index, shape)}</span><b>${numbers[index] === null ? plain(JSON.stringify(each)) : said(numbers[index])}</b>
      ${earlier && numbers[index] !== null && earlier[index] !== null && html`<${Delta} now=${numbers[index]} before=${earlier[index]} />`}</li>`)}</ol>`}
  </div>`;
}

function place(index, shape) {
  if (shape.length < 2) return index;
  const parts = [];
  for (let axis = shape.length - 1, rest = index; axis >= 0; axis--) {
    parts.unshift(rest % shape[axis]);
    rest = Math.floor(rest / shape[axis]);
  }
  return parts.join(",");
}

function summary(numbers) {
  const finite = numbers.filter(Number.isFinite);
  const odd = numbers.length - finite.length;
  const sum = finite.reduce((a, b) => a + b, 0);
  const [least, most] = [finite.reduce((a, b) => Math.min(a, b), Infinity), finite.reduce((a, b) => Math.max(a, b), -Infinity)];
  return `${finite.length ? `${number(least)} to ${number(most)}, mean ${number(sum / finite.length)}` : ""}${odd ? `, ${count(odd)} not finite` : ""}`;
}

/** A dict or a list; what is in it is drawn when it is open. */
function Branch({ name, value, before, depth }) {
  const members = membersOf(value);
  const [isOpen, setOpen] = useState(depth < 2 && members.length <= 12);
  const [most, setMost] = useState(DEEPER);
  const earlier = new Map(membersOf(before));
  if (!members.length) return html`<${Line} name=${name}><span class="muted">empty</span></${Line}>`;
  if (value.$bytes !== undefined) return html`<${Line} name=${name}><span class="muted">${plural(Math.floor((value.$bytes.length * 3) / 4), "byte")}</span></${Line}>`;
  return html`<details class="value branch" open=${isOpen} ontoggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary><span class="name">${plain(name)}</span> <span class="muted">${plural(members.length, "member")}</span></summary>
    ${isOpen && members.slice(0, most).map(([key, each]) => html`<${Value} key=${key} name=${key} value=${each} before=${earlier.get(key)} depth=${depth + 1} />`)}
    ${isOpen && members.length > most && html`<button type="button" class="quiet" onclick=${() => setMost(most + DEEPER)}>${count(members.length - most)} more</button>`}
  </details>`;
}

function membersOf(value) {
  if (!value || typeof value !== "object") return [];
  if (Array.isArray(value)) return value.map((each, index) => [String(index), each]);
  if (Array.isArray(value.$tuple)) return membersOf(value.$tuple);
  if (Array.isArray(value.$map)) return value.$map.map(([key, each]) => [typeof key === "string" ? key : JSON.stringify(key), each]);
  if (Array.isArray(value.$complex)) return [["real", value.$complex[0]], ["imaginary", value.$complex[1]]];
  return Object.entries(value);
}
