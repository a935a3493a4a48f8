// Curves of runs, read in buckets whose width follows the zoom.
import { useEffect, useRef, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { numeric } from "./numbers.js";

const SKIPPED = new Set(["oid", "parents", "origin", "run", "step", "episode", "episode_step", "files", "clock", "message"]);
const MOST_ELEMENTS = 16;

/** Return the fields of a state that are numbers, by their paths. @param {Record<string, any>} state as docs/json.md has it */
export function fieldsOf(state) {
  const found = [];
  const visit = (path, value) => {
    if (numeric(value) !== null) found.push(path);
    else if (Array.isArray(value) && value.length <= MOST_ELEMENTS) value.forEach((each, index) => visit(`${path}[${index}]`, each));
    else if (value && typeof value === "object" && !Array.isArray(value)) {
      if ("$array" in value) { if (!/^[<>|=]?c/.test(value.dtype)) visit(path, value.$array); } // docs/json.md
      else for (const [key, each] of Object.entries(value)) if (/^\w+$/.test(key)) visit(`${path}.${key}`, each);
    }
  };
  for (const [name, value] of Object.entries(state)) if (!SKIPPED.has(name)) visit(name, value);
  return ["return", "length", "reward", ...found.filter((name) => name !== "reward")];
}

/** Return one curve of the answer of GET /v1/series: what lies at the same x is one point, and x ascends. */
export function curve(found, field, label) {
  const columns = found.fields[field];
  const of = (column, index) => (column ? (numeric(column[index]) ?? NaN) : null); // null: infinities of both signs
  const points = found.x.flatMap((x, index) => (x === null || !columns.n[index] ? [] // time unknown, or no value
    : [{ x, n: columns.n[index], mean: of(columns.mean, index), min: of(columns.min, index), max: of(columns.max, index), line: of(columns.smooth ?? columns.mean, index) }]));
  points.sort((a, b) => a.x - b.x);
  const merged = [];
  for (const point of points) {
    const last = merged[merged.length - 1];
    if (last?.x === point.x) merged[merged.length - 1] = together(last, point);
    else merged.push(point);
  }
  const column = (name) => merged.map((each) => each[name]);
  return { run: found.run, field, label, width: found.width, stop: found.stop, x: column("x"), mean: column("mean"), min: column("min"), max: column("max"), line: column("line") };
}

/** Return two points as one: means by how many values they are of. */
function together(a, b) {
  const n = a.n + b.n;
  const mean = (name) => (a[name] === b[name] ? a[name] : (a[name] * a.n + b[name] * b.n) / n);
  const of = (name, choose) => (a[name] === null ? null : choose(a[name], b[name]));
  return { x: a.x, n, mean: mean("mean"), line: mean("line"), min: of("min", Math.min), max: of("max", Math.max) };
}

/**
 * Return curves of runs; they are read again when a run has grown.
 * @param {{runs: string[], fields: string[], x?: string, from?: number | null, to?: number | null,
 *   points?: number, smooth?: number, withBand?: boolean, tips: string}} props tips: what changes when a run has grown
 */
export function useSeries({ runs, fields, x = "step", from = null, to = null, points = 500, smooth = 1, withBand = true, tips }) {
  const [state, set] = useState({ curves: [], error: null, isLoading: true });
  const asked = JSON.stringify([runs, fields, x, from, to, points, smooth, withBand]);
  const under = useRef(/** @type {{asked: string, control: AbortController} | null} */ (null)); // the request that is under way
  const [again, repeat] = useState(0);
  const isDue = useRef(false);
  useEffect(() => () => {
    under.current?.control.abort();
    under.current = null;
  }, []);
  useEffect(() => {
    if (under.current?.asked === asked) return void (isDue.current = true); // a run that grows must not keep its curve from coming
    under.current?.control.abort();
    under.current = null;
    isDue.current = false;
    if (!runs.length || !fields.length) return void set({ curves: [], error: null, isLoading: false });
    const control = new AbortController();
    const mine = (under.current = { asked, control });
    set((before) => ({ ...before, isLoading: true }));
    const parts = ["n", "mean", ...(withBand ? ["min", "max"] : []), ...(smooth > 1 ? ["smooth"] : [])].join(",");
    const query = { run: runs, field: fields, x, from, to, points, smooth, parts, missing: "skip" }; // one may be renamed or deleted meanwhile
    get("series", "", query, { signal: control.signal }).then(
      (found) => set({
        curves: found.curves.flatMap((each) => fields.map((field) =>
          curve(each, field, fields.length === 1 ? each.run : runs.length === 1 ? field : `${each.run} ${field}`))),
        error: null, isLoading: false,
      }),
      (error) => control.signal.aborted || set((before) => ({ ...before, error, isLoading: false })),
    ).then(() => {
      if (under.current !== mine) return;
      under.current = null;
      if (isDue.current) repeat((times) => times + 1);
    });
  }, [asked, tips, again]);
  return state;
}
