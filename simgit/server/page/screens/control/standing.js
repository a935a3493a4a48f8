// How a simulation stands: what it says itself, seldom, and what people did to it.
import { useEffect, useState } from "../../vendor/preact.js";
import { get, isMissing } from "../../core/api.js";
import { connection } from "../../core/live.js";
import { simulations } from "../../core/runs.js";
import { useStore } from "../../core/store.js";

const EVERY = 2000;
const INPUTS_EVERY = 10_000;
const SAMPLES = 40;

/** Call a function now, when something changes, and again and again while the page is seen. */
function useOften(work, every, changes) {
  useEffect(() => {
    const control = new AbortController();
    let isAsking = false;
    const look = async () => {
      if (document.hidden || isAsking) return;
      isAsking = true;
      await work(control.signal).finally(() => { isAsking = false; });
    };
    look();
    const timer = setInterval(look, every);
    document.addEventListener("visibilitychange", look);
    return () => {
      control.abort();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, changes);
}

/**
 * Return what is known of the simulation of a run; events tell its phase, progress and questions.
 * @param {string} name
 * @returns {{standing: any, usage: any[], error: any}} standing as GET /v1/simulations/RUN has it, with `at`: when it was read
 */
export function useStanding(name) {
  const told = useStore(simulations, (all) => all.get(name));
  const [read, setRead] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [usage, setUsage] = useState(/** @type {any[]} */ ([]));
  const isOver = Boolean(read?.outcome && (told?.outcome || !told));
  useOften((signal) => get("simulations", name, {}, { signal }).then((found) => {
    setRead({ ...found, at: Date.now() });
    setError(null);
    if (found.usage) setUsage((before) => (before[before.length - 1]?.time === found.usage.time ? before : [...before, found.usage].slice(-SAMPLES)));
  }, (problem) => signal.aborted || setError(problem)), isOver ? 60_000 : EVERY, [name, told?.phase, told?.outcome, told?.questions, isOver]);
  const newer = told && read && (told.outcome ?? null) === (read.outcome ?? null) && told.phase === read.phase;
  const standing = read && { ...read, ...(newer ? {} : phaseOf(told)), progress: told?.progress ?? read.progress, questions: questionsOf(told, read), answered: told?.answered ?? null };
  return { standing, usage, error };
}

const phaseOf = (told) => (told ? { phase: told.outcome ? "ended" : told.phase, outcome: told.outcome ?? null, reason: told.reason ?? null } : {});

/** Return the open questions, each with the time of its deadline. */
function questionsOf(told, read) {
  const asked = told?.questions ?? (told?.phase === "asking" ? read.questions : []);
  return asked.map((each) => ({ ...each, until: each.until ? Date.parse(each.until) : typeof each.left === "number" ? read.at + each.left * 1000 : null }));
}

/** Return what people did to a simulation, and its settings in force. @param {string} name @param {number} change read again when it changes */
export function useInputs(name, change) {
  const phase = useStore(simulations, (all) => all.get(name)?.phase);
  const [state, set] = useState(/** @type {{inputs: any[], config: any, isMissing?: boolean} | null} */ (null));
  useOften((signal) => get("inputs", name, {}, { signal }).then(
    (found) => set((before) => (JSON.stringify(before) === JSON.stringify(found) ? before : found)),
    (problem) => { if (!signal.aborted && isMissing(problem)) set({ inputs: [], config: {}, isMissing: true }); },
  ), INPUTS_EVERY, [name, change, phase]);
  return state;
}

/** Return the time, again and again while something counts. @param {boolean} isOn */
export function useClock(isOn, every = 500) {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    if (!isOn) return undefined;
    set(Date.now());
    const timer = setInterval(() => document.hidden || set(Date.now()), every);
    return () => clearInterval(timer);
  }, [isOn]);
  return now;
}

/** True while the server cannot be reached, or is another one: what is shown is what was. */
export const useIsLost = () => useStore(connection, (state) => state === "lost" || state === "refused");
