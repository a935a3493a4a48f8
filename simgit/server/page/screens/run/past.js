// The states of a run by step: which oids they have, and those that were read.
import { get } from "../../core/api.js";
import { Store } from "../../core/store.js";

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
  constructor() {
    this.tip = -1;
    this.tipOid = "";
    /** @type {Map<number, any>} lines of the log by step: oid, episode, action, reward */
    this.lines = new Map();
    /** Counts histories: what was asked of an earlier one is not noted when it comes. */
    this.generation = new Store(0);
    /** The newest tip of which the server said that it is of this history. */
    this.sure = { step: -1, oid: "" };
    this.isChecking = false;
    /** @type {Map<string, Promise<any>>} what is being read */
    this.pending = new Map();
    /** @type {number[]} steps that are likely to be shown next */
    this.wanted = [];
    this.by = 1;
    this.isAhead = false;
  }

  /** Note how far the run is; one that was moved back, and may have grown since, is another history. @param {any} run */
  follow(run) {
    const step = run.step ?? -1;
    const oid = run.oid ?? "";
    if (step < this.tip || (step === this.tip && oid !== this.tipOid)) this.forget();
    this.tip = step;
    this.tipOid = oid;
    if (!oid) return;
    if (!this.lines.has(step)) this.lines.set(step, { oid, step });
    if (!this.sure.oid) this.sure = { step, oid };
    else if (this.sure.oid !== oid) this.check().catch(() => {}); // the next tip asks again
  }

  /** Forget a history. */
  forget() {
    this.lines.clear();
    this.sure = { step: -1, oid: "" };
    this.generation.set((count) => count + 1);
  }

  /** Ask whether the run still has the states that it had; one request at a time. */
  async check() {
    if (this.isChecking) return;
    this.isChecking = true;
    try {
      while (this.sure.oid && this.sure.oid !== this.tipOid) {
        const generation = this.generation.value;
        const [old, next] = [this.sure, { step: this.tip, oid: this.tipOid }];
        const found = next.step < old.step ? [] : await get("log", `${next.oid}@${old.step}`, { limit: 1 });
        if (generation !== this.generation.value) continue;
        if (found[0]?.oid !== old.oid) {
          this.forget();
          if (this.tipOid) this.lines.set(this.tip, { oid: this.tipOid, step: this.tip });
        }
        this.sure = next;
      }
    } finally {
      this.isChecking = false;
    }
  }

  /** Return the revision of a step: of the tip's history, which stays whatever becomes of the run's name. @param {number} step */
  rev(step) {
    return `${this.tipOid}@${step}`;
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
      const generation = this.generation.value;
      const state = oid ? await readState(oid) : keep(await get("states", this.rev(step)));
      if (generation !== this.generation.value) return this.load(step);
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
      const generation = this.generation.value;
      const found = await get("log", this.rev(last), { limit: CHUNK });
      if (generation !== this.generation.value) return;
      const byOid = new Map(found.map((line) => [line.oid, line]));
      for (let line = found[0]; line && line.step >= first; line = byOid.get(line.parents[0])) {
        const known = this.lines.get(line.step);
        if (known && known.oid !== line.oid) this.forget(); // the run was moved meanwhile
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
    const generation = this.generation.value;
    const found = await get("log", this.rev(last), { limit, whole: true });
    if (generation !== this.generation.value) return;
    const byOid = new Map(found.map((state) => [state.oid, state]));
    for (let state = found[0]; state; state = byOid.get(state.parents[0])) {
      keep(state);
      if (!this.lines.has(state.step)) this.lines.set(state.step, { oid: state.oid, step: state.step });
    }
    if (!this.at(step)) await this.load(step); // of another line that was merged
  }

  once(what, read) {
    const key = `${this.generation.value} ${what}`;
    const found = this.pending.get(key) ?? read().finally(() => this.pending.delete(key));
    this.pending.set(key, found);
    return found;
  }
}
