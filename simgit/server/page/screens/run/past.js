// The states of a run by step: which oids they have, and those that were read.
import { useEffect, useReducer } from "../../vendor/preact.js";
import { get } from "../../core/api.js";

const CHUNK = 256;
const KEPT = 600;
const AHEAD = 8;
const BEHIND = 2;

/** States by oid, of all runs: they never change. @type {Map<string, any>} */
const states = new Map();

function keep(state) {
  states.delete(state.oid);
  states.set(state.oid, state);
  if (states.size > KEPT) states.delete(states.keys().next().value);
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

  /** Read what is likely to be shown next. @param {number} step @param {number} by the last move, in steps */
  async prefetch(step, by) {
    await this.loadLines(step);
    const ahead = Array.from({ length: AHEAD }, (_, index) => step + (index + 1) * by);
    const behind = Array.from({ length: BEHIND }, (_, index) => step - (index + 1) * by);
    const wanted = [...ahead, ...behind, step - 1, step + 1].filter((each) => each >= 0 && each <= this.tip && this.lines.has(each));
    await Promise.all(wanted.map((each) => this.load(each)));
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
    const before = step > 0 ? past.load(step - 1) : Promise.resolve(null);
    past.load(step).then(
      (state) => isWanted && set({ state, error: null }),
      (error) => isWanted && set({ state: undefined, error }),
    );
    before.then((parent) => isWanted && parent && set({ state: past.at(step), error: null, parent }), () => {});
    return () => { isWanted = false; };
  }, [past, step]);
  const state = now ?? shown.state;
  return { state, parent: stateNow(state?.parents[0]), error: now ? null : shown.error };
}
