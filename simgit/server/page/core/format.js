// Values as people read them. Text of a repository may be a stranger's: controls are made visible.
import { exact } from "./numbers.js";

const CONTROLS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Return text whose control and direction characters are escaped. @param {unknown} value */
export function plain(value) {
  return String(value ?? "").replace(CONTROLS, (found) =>
    found === "\n" || found === "\t" ? found : `\\u{${found.codePointAt(0)?.toString(16)}}`);
}

/** Return a number with at most so many significant digits, an integer with all. @param {any} given as docs/json.md has it */
export function number(given, digits = 5) {
  if (given === null || given === undefined) return "–";
  const value = typeof given === "object" ? (exact(given) ?? JSON.stringify(given)) : given;
  if (typeof value === "bigint") return minus(String(value));
  if (typeof value !== "number") return plain(value);
  if (!Number.isFinite(value)) return minus(String(value).replace("Infinity", "∞"));
  if (Number.isInteger(value)) return count(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return minus(value.toExponential(digits > 5 ? digits - 1 : 2).replace("e+", "e"));
  return minus(String(Number(value.toPrecision(digits))));
}

/** Return how many digits tell numbers of a size apart that differ by so much. @param {number} size @param {number} difference */
export const digitsFor = (size, difference) => (size > 0 && difference > 0 ? Math.max(5, Math.min(17, Math.ceil(Math.log10(size / difference)) + 1)) : 5);

const grouped = new Intl.NumberFormat("en-US");

const minus = (text) => text.replace(/-/g, "−");

/** Return a whole number with separators. @param {number} value */
export const count = (value) => minus(Math.abs(value) < 10_000 ? String(value) : grouped.format(value));

/** Return "1 state", "2 states". @param {number} value @param {string} word */
export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

/** Return a number of bytes with its unit. @param {number} value */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 2 ** (10 * step);
  return `${step && scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)} ${units[step]}`;
}

/** Return seconds as "0:41", "1:02:03". @param {number} value */
export function seconds(value) {
  if (value < 1) return value > 0 && value < 0.0005 ? "< 1 ms" : `${Math.round(value * 1000)} ms`;
  const whole = Math.round(value);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Return how long ago a time is; RFC 3339. @param {string | null} time */
export function ago(time) {
  if (!time) return "–";
  const passed = (Date.now() - Date.parse(time)) / 1000;
  if (Number.isNaN(passed)) return plain(time);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (passed >= size) return `${Math.floor(passed / size)} ${unit} ago`;
  }
  return passed < 5 ? "now" : `${Math.floor(passed)} s ago`;
}

/** Return a value of JSON in one line. @param {unknown} value */
export function json(value, most = 200) {
  if (typeof value !== "boolean" && exact(value) !== null) return number(value);
  if (typeof value === "string") return plain(value);
  const text = plain(JSON.stringify(value));
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Return an argument as a shell takes it. @param {unknown} value */
export function quoted(value) {
  const text = String(value);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Return a command with its arguments. @param {...unknown} parts null and undefined are left out */
export const command = (...parts) => ["simgit", ...parts.filter((part) => part !== null && part !== undefined).map(quoted)].join(" ");
