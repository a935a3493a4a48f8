// The runs of the repository and their simulations, as they are now.
import { get } from "./api.js";
import { on } from "./live.js";
import { asOf, place } from "./router.js";
import { Store } from "./store.js";

/**
 * A run as docs/json.md has it.
 * @typedef {{name: string, oid: string | null, step: number | null, episodes: number,
 *   return: number | null, status: string, overrides: Record<string, any>,
 *   config: Record<string, any>, parent: string | null, branch_point: string | null,
 *   seed: number | null, metadata: Record<string, any>, created: string, ended: string | null}} Run
 */

/** All runs by name; null before they are read. @type {Store<Map<string, Run> | null>} */
export const runs = new Store(null);
/** What is known of simulations by run. @type {Store<Map<string, any>>} */
export const simulations = new Store(new Map());
/** The run or oid that HEAD points at. @type {Store<{run?: string, oid?: string} | null>} */
export const head = new Store(null);
/** Counts changes of runs that a condition on the server may see. */
export const changes = new Store(0);

const MOST = 10_000;
const SOON = 100; // several changes come together
const LATER = 5000; // for what no event tells
let reading = null;
/** Of the newest answer; a server that was started anew does not know it, and answers with all. */
let cursor = "";

/** Read the runs that have changed, all the first time; at most one request is under way. */
export function readRuns() {
  reading ??= (async () => {
    const moment = asOf();
    meanwhile = new Map();
    try {
      const isPart = moment === null && cursor !== "" && runs.value !== null;
      let answer = await get("runs", "", isPart ? { since: cursor } : { limit: MOST }, { as: "response" });
      let found = await answer.json();
      if (!isPart && Number(answer.headers.get("X-Count") ?? 0) > found.length) { // more than a page
        answer = await get("runs", "", { since: "all" }, { as: "response" });
        found = await answer.json();
      }
      if (moment !== asOf()) return void setTimeout(readRuns); // another moment was chosen meanwhile
      cursor = moment === null ? (answer.headers.get("X-Cursor") ?? "") : "";
      if (isPart && !found.whole && !found.runs.length && !found.removed.length && !meanwhile.size) return;
      const next = new Map(Array.isArray(found) || found.whole ? [] : (runs.value ?? []));
      for (const name of found.removed ?? []) next.delete(name);
      for (const run of found.runs ?? found) next.set(run.name, run);
      for (const [name, level] of meanwhile) {
        if (!("status" in level)) next.delete(name);
        else if (next.has(name)) next.set(name, { ...next.get(name), ...shown(level) });
      }
      runs.set(next);
      changes.set((count) => count + 1);
    } finally {
      reading = null;
    }
  })();
  return reading;
}

/** What was told while the runs were read: it may be newer. @type {Map<string, any>} */
let meanwhile = new Map();
let timer = 0;
let due = Infinity;

/** Read what has changed, after so many milliseconds at the latest. @param {number} pause */
function readWithin(pause) {
  if (Date.now() + pause >= due) return;
  due = Date.now() + pause;
  clearTimeout(timer);
  timer = setTimeout(async () => {
    due = Infinity;
    await reading?.catch(() => {}); // it may have begun before the change
    await readRuns().catch(() => {}); // without a server: its next stream begins with the tips
    if ([...(runs.value?.values() ?? [])].some((run) => run.writer)) readWithin(LATER); // that a writer ends is not told
  }, pause);
}

/** @type {Map<string, any>} */
let waiting = new Map();

/** Apply what was told since the last frame: one drawing for any number of events. */
function apply() {
  const told = waiting;
  waiting = new Map();
  const known = runs.value;
  if (!known || asOf() !== null) return; // what was does not move
  const next = new Map(known);
  let isMore = false; // settings, times and writers are not told
  for (const [name, level] of told) {
    const run = next.get(name);
    if (!("status" in level)) next.delete(name);
    else {
      isMore ||= !run || level.isAgain || run.status !== level.status || !(level.step > (run.step ?? -1));
      if (run) next.set(name, { ...run, ...shown(level) });
    }
  }
  runs.set(next);
  changes.set((count) => count + 1);
  readWithin(isMore ? SOON : LATER);
}

const shown = ({ oid, step, status, episodes, return: sum }) => ({ oid, step, status, episodes, return: sum });

function note(name, level) {
  if (!waiting.size) requestAnimationFrame(apply);
  const before = waiting.get(name);
  const isAgain = "status" in level && before && (before.isAgain || !("status" in before)); // it was deleted meanwhile
  waiting.set(name, isAgain ? { ...level, isAgain } : level);
  if (reading) meanwhile.set(name, level);
}

/** Follow the events; call it once. */
export function followRuns() {
  on("tips", (tips) => {
    const there = new Set();
    const live = new Map();
    const add = (run, more) => live.set(run, { ...live.get(run), ...more });
    for (const [name, level] of Object.entries(tips)) {
      const kind = name.slice(0, name.indexOf("/"));
      if (kind === "live") add(level.run, level);
      else if (kind === "progress") add(level.run, { progress: level });
      else if (kind === "question") add(level.run, { questions: level.questions, answered: level.answered });
      else if (kind === "line" || kind === "job") continue;
      else if (level.run !== undefined && "status" in level) {
        there.add(level.run);
        const run = runs.value?.get(level.run);
        if (!run || JSON.stringify(shown(run)) !== JSON.stringify(shown(level))) note(level.run, level);
      } else if (name === "HEAD") head.set(level);
    }
    showLive(live);
    for (const name of runs.value?.keys() ?? []) if (!there.has(name)) note(name, {});
    readWithin(SOON); // what happened before the stream began
  });
  on("run", (level) => note(level.run, level));
  on("ref", (level) => level.ref === "HEAD" && head.set(level));
  on("phase", (level) => merge(level.run, level.phase === null ? null : level));
  on("progress", ({ run, ...progress }) => merge(run, { progress }));
  on("question", ({ run, questions, answered }) => merge(run, { questions, answered }));
  let moment = asOf();
  place.follow(() => {
    if (moment === asOf()) return;
    moment = asOf();
    runs.set(null);
    showLive(living);
    readRuns();
  });
}

/** @type {Map<string, any>} simulations as they are, also while the page looks at what was */
let living = new Map();

function showLive(next) {
  living = next;
  simulations.set(asOf() === null ? next : new Map());
}

function merge(run, more) {
  const next = new Map(living);
  if (more === null) next.delete(run);
  else next.set(run, { ...next.get(run), ...more });
  showLive(next);
}
