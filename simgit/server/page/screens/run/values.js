// Recorded values as JSON has them (docs/json.md), for people: numbers in columns, trees, arrays by their shape.
import { html, useState } from "../../vendor/preact.js";
import { count, digitsFor, number, plain, plural } from "../../core/format.js";
import { arrayOf, exact, minus } from "../../core/numbers.js";

const MOST = 64; // elements of an array that are shown at once
const WIDE = 10; // characters of a narrow column
const DEEPER = 50; // members of a tree that are shown at once
const KINDS = { f: "float", i: "int", u: "uint", b: "bool", c: "complex", M: "datetime", m: "timedelta", U: "text", S: "bytes" };

/** Return the name of a type of NumPy. @param {string} dtype such as "<f4" */
export function typeName(dtype) {
  const found = /^[<>|=]?([a-zA-Z])(\d+)?/.exec(dtype ?? "");
  if (!found || !(found[1] in KINDS)) return plain(dtype);
  return found[1] === "b" ? "bool" : `${KINDS[found[1]]}${found[2] ? Number(found[2]) * 8 : ""}`;
}

/** The difference to the parent; where two numbers have none, whether they are the same. @param {{now: number | bigint, before: number | bigint}} props */
export function Delta({ now, before }) {
  const difference = minus(now, before);
  if (Object.is(now, before) || difference === 0) return html`<span class="delta same">=</span>`;
  if (typeof difference === "number" && !Number.isFinite(difference)) return html`<span class="delta changed">was ${number(before)}</span>`;
  return html`<span class=${`delta ${difference > 0 ? "up" : "down"}`}>${difference > 0 ? "+" : ""}${number(difference, 3)}</span>`;
}

/** Return a number with the digits that tell it from the parent's. @param {number | bigint} now @param {number | bigint | null | undefined} before */
const told = (now, before) => number(now, before === null || before === undefined ? 5 : digitsFor(Math.abs(Number(now)), Math.abs(Number(minus(now, before))) / 10));

/** Return an element of an array as text. @param {any} value @param {number | bigint | null} [before] */
export function elementText(value, before = null) {
  const found = exact(value);
  if (found !== null) return told(found, before);
  if (typeof value === "string") return plain(value);
  if (!Array.isArray(value)) return plain(JSON.stringify(value));
  const [real, imaginary] = value.map(exact); // of a complex number
  const isBelow = imaginary < 0 || Object.is(imaginary, -0);
  return `${number(real)} ${isBelow ? "−" : "+"} ${number(isBelow ? -imaginary : imaginary)}i`;
}

/** A value with its name and what changed since the parent. @param {{name: string, value: any, before?: any, depth?: number}} props */
export function Value({ name, value, before, depth = 0 }) {
  const array = arrayOf(value);
  const single = exact(value);
  if (single !== null && typeof value !== "boolean") {
    const earlier = exact(before);
    return html`<${Line} name=${name}><b class="scalar">${told(single, earlier)}</b>
      ${earlier !== null && html` <${Delta} now=${single} before=${earlier} />`}</${Line}>`;
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
  const { numbers, earlier, changed } = compared(array, before);
  const said = isLong ? summary(numbers) : "";
  const shown = isLong ? flat.slice(0, more) : flat;
  const texts = shown.map((each, index) => elementText(each, earlier?.[index]));
  const isWide = texts.some((text) => text.length > WIDE);
  const delta = (index) => earlier && (numbers[index] !== null && earlier[index] !== null
    ? html`<${Delta} now=${numbers[index]} before=${earlier[index]} />`
    : changed[index] && html`<span class="delta changed">was ${elementText(before.flat[index])}</span>`);
  return html`<div class="value wide"><span class="name">${plain(name)} <span class="muted">${label}${before && !earlier ? ", of another shape before" : ""}</span></span>
    ${isLong && html`<span class="content">${said}${changed && html` <span class="muted">${plural(changed.filter(Boolean).length, "element")} changed</span>`}
      ${more < flat.length && html` <button type="button" class="quiet" onclick=${() => setMore(more + MOST)}>${more ? "Show more" : said ? "Show numbers" : "Show elements"} of ${plain(name)}</button>`}</span>`}
    ${shown.length > 0 && html`<ol class=${isWide ? "numbers long" : "numbers"} aria-label=${`Elements of ${name}`}>${shown.map((_, index) => html`<li key=${index}>
      <span class="index">${place(index, shape)}</span><b>${texts[index]}</b>
      ${delta(index)}</li>`)}</ol>`}
  </div>`;
}

/** Return the numbers of an array (null for what is none), those of the parent, and which elements changed; null where the shapes differ. */
export function compared(array, before) {
  const numbers = array.flat.map(exact);
  if (!before?.flat || before.shape.join() !== array.shape.join()) return { numbers, earlier: null, changed: null };
  const earlier = before.flat.map(exact);
  const changed = numbers.map((each, index) => (each === null || earlier[index] === null
    ? JSON.stringify(array.flat[index]) !== JSON.stringify(before.flat[index]) : !Object.is(each, earlier[index])));
  return { numbers, earlier, changed };
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

/** Return what numbers are like; nothing where some are none. @param {(number | bigint | null)[]} numbers */
export function summary(numbers) {
  if (numbers.includes(null)) return "";
  const finite = numbers.filter((each) => typeof each === "bigint" || Number.isFinite(each));
  const odd = numbers.length - finite.length;
  const sum = finite.reduce((a, b) => a + Number(b), 0);
  const [least, most] = [finite.reduce((a, b) => (b < a ? b : a), finite[0]), finite.reduce((a, b) => (b > a ? b : a), finite[0])];
  return [finite.length && `${number(least)} to ${number(most)}, mean ${number(sum / finite.length)}`, odd && `${count(odd)} not finite`].filter(Boolean).join(", ");
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
