// The step that is shown: part of the address, which follows when the person stops moving.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/preact.js";
import { place, setQuery } from "../../core/router.js";
import { useStore } from "../../core/store.js";

const PAUSE = 150; // browsers refuse addresses that change all the time

/**
 * Return the step that is shown; without one in the address it is the newest, also when the run grows.
 * @param {number} tip the newest step
 * @returns {{step: number, isLive: boolean, beyond: number | null, goTo: (step: number | ((now: number) => number)) => void}} beyond: an asked step that is not there
 */
export function useCursor(tip) {
  const asked = useStore(place, ({ query }) => wholeOf(query.step));
  const [own, setOwn] = useState(asked);
  const written = useRef(asked);
  const timer = useRef(0);
  const newest = useRef(tip);
  newest.current = tip;
  const shown = useRef(0);
  useEffect(() => {
    if (asked === written.current) return;
    written.current = asked; // a link, or back and forward
    clearTimeout(timer.current);
    setOwn(asked);
  }, [asked]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const goTo = useCallback((to) => {
    const step = typeof to === "function" ? to(shown.current) : to; // of keys that come before the next drawing
    shown.current = Math.min(Math.max(0, step), newest.current);
    const next = step >= newest.current ? null : Math.max(0, step);
    setOwn(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      written.current = next;
      setQuery({ step: next });
    }, PAUSE);
  }, []);
  const step = own === null ? tip : Math.min(own, tip);
  useLayoutEffect(() => { shown.current = step; }, [step]);
  return { step, isLive: own === null, beyond: own !== null && own > tip ? own : null, goTo };
}

const wholeOf = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : null);

/** Return a value once it has not changed for so many milliseconds. @template T @param {T} value @param {number} pause @returns {T} */
export function useSettled(value, pause) {
  const [settled, set] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => set(value), pause);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
