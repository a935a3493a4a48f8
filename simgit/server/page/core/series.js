// Curves of runs, read in buckets whose width follows the zoom.
import { useEffect, useState } from "../vendor/preact.js";
import { get } from "./api.js";

const SKIPPED = new Set(["oid", "parents", "origin", "run", "step", "episode", "episode_step", "files", "clock", "message"]);
const MOST_ELEMENTS = 16;
const DIGITS = 6; // more than a pixel shows

/** Return the fields of a state that are numbers, by their paths. @param {Record<string, any>} state as docs/json.md has it */
export function fieldsOf(state) {
  const found = [];
  const visit = (path, value) => {
    if (typeof value === "number" || typeof value === "boolean") found.push(path);
    else if (Array.isArray(value) && value.length <= MOST_ELEMENTS) value.forEach((each, index) => visit(`${path}[${index}]`, each));
    else if (value && typeof value === "object" && !Array.isArray(value)) {
      if ("$array" in value) visit(path, value.$array); // docs/json.md
      else for (const [key, each] of Object.entries(value)) if (/^\w+$/.test(key)) visit(`${path}.${key}`, each);
    }
  };
  for (const [name, value] of Object.entries(state)) if (!SKIPPED.has(name)) visit(name, value);
  return ["return", "length", "reward", ...found.filter((name) => name !== "reward")];
}

/** Return one curve of the answer of GET /v1/series. */
function curve(found, field, label) {
  const columns = found.fields[field];
  const x = [];
  const parts = { mean: [], min: [], max: [], line: [] };
  found.x.forEach((each, index) => {
    if (each === null || (x.length && each <= x[x.length - 1])) return; // time unknown, or the same again
    if (!columns.n[index]) return;
    x.push(each);
    for (const name of ["mean", "min", "max"]) parts[name].push(columns[name]?.[index] ?? null);
    parts.line.push((columns.smooth ?? columns.mean)[index]);
  });
  return { run: found.run, field, label, width: found.width, stop: found.stop, x, ...parts };
}

/**
 * Return curves of runs; they are read again when a run has grown.
 * @param {{runs: string[], fields: string[], x?: string, from?: number | null, to?: number | null,
 *   points?: number, smooth?: number, withBand?: boolean, tips: string}} props tips: what changes when a run has grown
 */
export function useSeries({ runs, fields, x = "step", from = null, to = null, points = 500, smooth = 1, withBand = true, tips }) {
  const [state, set] = useState({ curves: [], error: null, isLoading: true });
  const asked = JSON.stringify([runs, fields, x, from, to, points, smooth, withBand]);
  useEffect(() => {
    if (!runs.length || !fields.length) return void set({ curves: [], error: null, isLoading: false });
    const control = new AbortController();
    set((before) => ({ ...before, isLoading: true }));
    const parts = ["n", "mean", ...(withBand ? ["min", "max"] : []), ...(smooth > 1 ? ["smooth"] : [])].join(",");
    const query = { run: runs, field: fields, x, from, to, points, smooth, parts, digits: DIGITS };
    get("series", "", query, { signal: control.signal }).then(
      (found) => set({
        curves: found.flatMap((each) => fields.map((field) =>
          curve(each, field, fields.length === 1 ? each.run : runs.length === 1 ? field : `${each.run} ${field}`))),
        error: null, isLoading: false,
      }),
      (error) => control.signal.aborted || set((before) => ({ ...before, error, isLoading: false })),
    );
    return () => control.abort();
  }, [asked, tips]);
  return state;
}
