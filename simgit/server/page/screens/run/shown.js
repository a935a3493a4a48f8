// The state that a screen shows, while the next is read.
import { useEffect, useReducer } from "../../vendor/preact.js";
import { useStore } from "../../core/store.js";
import { readState, stateNow } from "./past.js";

/**
 * Return the state of a step, and the one before it; while they are read, those of before.
 * @param {import("./past.js").Past} past @param {number} step @returns {{state: any, parent: any, error: any}}
 */
export function useShownState(past, step) {
  const [shown, set] = useReducer((_, next) => next, { state: undefined, error: null });
  const generation = useStore(past.generation);
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
  }, [past, step, generation]);
  const state = now ?? shown.state;
  return { state, parent: stateNow(state?.parents[0]), error: now ? null : shown.error };
}
