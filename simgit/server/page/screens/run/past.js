// The states of a run by step: which oids they have, and those that were read.
import { useEffect, useReducer } from "../../vendor/preact.js";
import { get } from "../../core/api.js";

const CHUNK = 64;
const KEPT = [20, 600]; // states
const KEPT_BYTES = 20_000_000; // of their JSON, about
const AHEAD = 8; // moves
const BLOCK = 16;
const MOST_BLOCK = 64;
const MOST_BYTES = 500_000; // of JSON in an answer

/** States by oid, of all runs: they never change. @type {Map<string, any>} */
const states = new Map();
let most = KEPT[1];

function keep(state) {
  states.delete(state.oid);
  states.set(state.oid, state);
  while (states.size > most) states.delete(states.keys().next().value);
  return state;
}

/** Return a state if it was read. @param {string | undefined} oid */
export const stateNow = (oid) => (oid === undefined ? undefined : states.get(oid));

/** Read a state, once. @param {string} oid */
export async function readState(oid) {
  return states.get(oid) ?? keep(await get("states", oid));
}

/** The history of a run. */
export class Past {
  /** @param {string} name of the run */
  constructor(name) {
    this.name = name;
    this.tip = -1;
    this.tipOid = "";
    /** @type {Map<number, any>} lines of the log by step: oid, episode, action, reward */
    this.lines = new Map();
    /** @type {Map<string, Promise<any>>} what is being read */
    this.pending = new Map();
    /** @type {number[]} steps that are likely to be shown next */
    this.wanted = [];
    this.by = 1;
    this.isAhead = false;
  }

  /** Note how far the run is; one that was moved back is another history. @param {any} run */
  follow(run) {
    const { oid, step } = run;
    const isOther = step < this.tip || (step === this.tip && oid !== this.tipOid);
    if (isOther) this.lines.clear();
    this.tip = step ?? -1;
    this.tipOid = oid;
    if (oid && !this.lines.has(step)) this.lines.set(step, { oid, step });
  }

  /** Return the state of a step if it was read. @param {number} step */
  at(step) {
    return stateNow(this.lines.get(step)?.oid);
  }

  /** Read the state of a step. @param {number} step @returns {Promise<any>} */
  load(step) {
    const now = this.at(step);
    if (now) return Promise.resolve(now);
    return this.once(`state ${step}`, async () => {
      const oid = this.lines.get(step)?.oid;
      if (oid) return readState(oid);
      const state = keep(await get("states", `${this.name}@${step}`));
      if (!this.lines.has(step)) this.lines.set(step, { oid: state.oid, step });
      return state;
    });
  }

  /** Return the line of the log of a step if it was read. @param {number} step */
  line(step) {
    const found = this.lines.get(step);
    return found && "parents" in found ? found : undefined;
  }

  /** Read the lines of the log around a step. @param {number} step */
  async loadLines(step) {
    const first = Math.floor(step / CHUNK) * CHUNK;
    const last = Math.min(this.tip, first + CHUNK - 1);
    if (this.line(last) && this.line(Math.max(first, step))) return;
    await this.once(`lines ${first} ${last}`, async () => {
      const found = await get("log", `${this.name}@${last}`, { limit: CHUNK });
      const byOid = new Map(found.map((line) => [line.oid, line]));
      for (let line = found[0]; line && line.step >= first; line = byOid.get(line.parents[0])) {
        const known = this.lines.get(line.step);
        if (known && known.oid !== line.oid) this.lines.clear(); // the run was moved meanwhile
        this.lines.set(line.step, line);
      }
    });
  }

  /**
   * Read what is likely to be shown next, many states at once; one request at a time.
   * @param {number} step @param {number} by the last move, in steps; 0 if nothing is known of the next one
   */
  async prefetch(step, by) {
    const moves = Array.from({ length: by ? AHEAD : 1 }, (_, index) => (by || 1) * (index + 1));
    this.wanted = [...moves, -1].map((each) => step + each).filter((each) => each >= 0 && each <= this.tip);
    this.by = by || 1;
    if (this.isAhead) return;
    this.isAhead = true;
    try {
      for (let next = this.missing(); next !== undefined; next = this.missing()) await this.loadBlock(next, this.by);
    } finally {
      this.isAhead = false;
    }
  }

  missing() {
    return this.wanted.find((each) => !this.at(each));
  }

  /** Read states from a step on, or back; few of those that are large. @param {number} step @param {number} by */
  async loadBlock(step, by) {
    const known = this.at(this.wanted.find((each) => this.at(each)) ?? step);
    const size = known ? JSON.stringify(known).length : MOST_BYTES / 4;
    most = Math.max(KEPT[0], Math.min(KEPT[1], Math.floor(KEPT_BYTES / size)));
    const limit = Math.max(1, Math.min(BLOCK * Math.abs(by), MOST_BLOCK, Math.floor(MOST_BYTES / size)));
    const last = by > 0 ? Math.min(this.tip, step + limit - 1) : step;
    const found = await get("log", `${this.name}@${last}`, { limit, whole: true });
    const byOid = new Map(found.map((state) => [state.oid, state]));
    for (let state = found[0]; state; state = byOid.get(state.parents[0])) {
      keep(state);
      if (!this.lines.has(state.step)) this.lines.set(state.step, { oid: state.oid, step: state.step });
    }
    if (!this.at(step)) await this.load(step); // of another line that was merged
  }

  once(key, read) {
    const found = this.pending.get(key) ?? read().finally(() => this.pending.delete(key));
    this.pending.set(key, found);
    return found;
  }
}

/**
 * Return the state of a step, and the one before it; while they are read, those of before.
 * @param {Past} past @param {number} step @returns {{state: any, parent: any, error: any}}
 */
export function useShownState(past, step) {
  const [shown, set] = useReducer((_, next) => next, { state: undefined, error: null });
  const now = step < 0 ? undefined : past.at(step);
  useEffect(() => {
    if (step < 0) return undefined;
    let isWanted = true;
    past.load(step).then(async (state) => {
      if (isWanted) set({ state, error: null });
      if (!isWanted || !state.parents.length || stateNow(state.parents[0])) return;
      await readState(state.parents[0]); // for what has changed
      if (isWanted) set({ state, error: null });
    }).catch((error) => isWanted && set({ state: undefined, error }));
    return () => { isWanted = false; };
  }, [past, step]);
  const state = now ?? shown.state;
  return { state, parent: stateNow(state?.parents[0]), error: now ? null : shown.error };
}
