// Parameters that a person drags: shown at once, part of the address when they rest.
import { useCallback, useEffect, useRef, useState } from "../vendor/preact.js";
import { place, setQuery } from "./router.js";
import { useStore } from "./store.js";

const PAUSE = 120; // what is read from the server follows the address

/**
 * Return the parameters of the address as they are, as they are shown, and what changes those.
 * @returns {{query: Record<string, string>, shown: Record<string, any>, hold: (changes: Record<string, unknown>) => void}}
 */
export function useHeldQuery() {
  const { query } = useStore(place);
  const [held, setHeld] = useState(/** @type {Record<string, unknown>} */ ({}));
  const newest = useRef(held);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const hold = useCallback((changes) => {
    newest.current = { ...newest.current, ...changes };
    setHeld(newest.current);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const rested = newest.current;
      newest.current = {};
      setQuery(rested);
      setHeld(newest.current);
    }, PAUSE);
  }, []);
  return { query, shown: { ...query, ...held }, hold };
}
