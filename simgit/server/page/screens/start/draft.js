// What a dialog asks for, as requests to the API and as the command that does the same.
import { command, quoted } from "../../core/format.js";
import { readField } from "../../parts/form.js";

/**
 * What is to be made: runs at a state (at) or from nothing, of a type, or as branches only (type null).
 * @typedef {{name: string, at: string | null, type: string | null, isOwnType: boolean, preset: string | null, seed: number | null,
 *   overrides: Record<string, unknown>, sweep: {path: string, values: unknown[]} | null, isQueued: boolean}} Draft
 */

/** Return a name that no run has: with the next number. @param {string} base @param {{has: (name: string) => boolean}} taken */
export function freeName(base, taken, first = 2) {
  const [, stem, digits] = /^(.*?)(?:-(\d+))?$/.exec(base) ?? [base, base];
  for (let index = digits ? Number(digits) + 1 : first; ; index++) {
    if (!taken.has(`${stem}-${index}`)) return `${stem}-${index}`;
  }
}

/** Return why a name cannot be that of a new run, "" if it can. @param {string} name @param {Iterable<string>} taken */
export function whyNot(name, taken) {
  if (!name.trim()) return "a name is missing";
  const lower = name.toLowerCase();
  for (const each of taken) if (each.toLowerCase() === lower) return `there is a run ${each} already`;
  return "";
}

/** Return the values of a sweep, or why there are none. @param {import("../../parts/form.js").Field} field @param {string} text */
export function readList(field, text) {
  let parts;
  try {
    parts = JSON.parse(`[${text}]`).map((each) => (typeof each === "string" ? each : JSON.stringify(each)));
  } catch {
    parts = text.split(",").map((each) => each.trim());
  }
  if (!text.trim()) return { error: "values are missing, such as 0.1, 0.01" };
  const read = parts.map((each) => readField(field, each));
  const bad = read.find((each) => each.error || !("value" in each));
  if (bad) return { error: bad.error ?? "a value is missing" };
  const values = read.map((each) => each.value);
  if (new Set(values.map(partOfName)).size < values.length) return { error: "two values are the same" };
  return { values };
}

/** Return a value as a part of a name. @param {unknown} value */
export const partOfName = (value) => settingText(value).replace(/[^\w.+-]+/g, "-").replace(/^[.-]+|[.-]+$/g, "") || "value";

/** Return a value as --set takes it: JSON, or a text that is none. @param {unknown} value */
export function settingText(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  try {
    JSON.parse(value);
    return JSON.stringify(value);
  } catch {
    return value;
  }
}

/** Return the runs of a draft: their names and settings. @param {Draft} draft */
const runsOf = ({ name, overrides, sweep }) => (sweep
  ? sweep.values.map((value) => ({ run: `${name}/${partOfName(value)}`, settings: { ...overrides, [sweep.path]: value } }))
  : [{ run: name, settings: overrides }]);

/** Return the requests that make what a draft asks for. @param {Draft} draft */
export function requestsOf(draft) {
  const { at, type, isOwnType, preset, seed, isQueued } = draft;
  const given = seed === null ? {} : { seed };
  return runsOf(draft).map(({ run, settings: overrides }) => (type === null
    ? { run, path: "/v1/runs", body: { name: run, ...(at ? { start: at } : {}), overrides, ...given } }
    : { run, path: "/v1/simulations", body: {
        run, ...(isOwnType ? {} : { type }), ...(at ? { at } : {}), ...(preset ? { preset } : {}), overrides, ...given, queue: isQueued } }));
}

/** Return the command that does the same. @param {Draft} draft */
export function commandOf(draft) {
  const one = (name, settings) => {
    const { at, type, isOwnType, preset, seed, isQueued } = draft;
    const sets = Object.entries(settings).flatMap(([path, value]) => ["--set", `${path}=${settingText(value)}`]);
    const more = [...sets, ...(seed === null ? [] : ["--seed", seed])];
    if (type === null) return ["branch", name, at, ...more];
    const queue = isQueued ? ["--queue"] : [];
    if (isOwnType && at) return ["sim", "fork", at, "--run", name, ...more, ...queue];
    return ["sim", "start", isOwnType ? null : type, "--run", name, ...(at ? ["--at", at] : []), ...(preset ? ["--preset", preset] : []), ...more, ...queue];
  };
  const { sweep } = draft;
  if (!sweep) return command(...one(draft.name, draft.overrides));
  const words = sweep.values.map(settingText);
  if (words.some((word) => partOfName(word) !== word)) {
    return runsOf(draft).map(({ run, settings }) => command(...one(run, settings))).join("\n");
  }
  const body = one("\0name", { ...draft.overrides, [sweep.path]: "\0value" }).filter((part) => part !== null);
  const part = (word) => (word === "\0name" ? `"${shellText(draft.name)}/$value"` : word === `${sweep.path}=\0value` ? `"${shellText(sweep.path)}=$value"` : quoted(word));
  return `for value in ${words.join(" ")}; do simgit ${body.map(part).join(" ")}; done`;
}

const shellText = (text) => text.replace(/["$`\\]/g, "\\$&");
