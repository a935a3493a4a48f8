// Reading for a component: what it shows is read again when what it depends on changes.
import { useEffect, useRef, useState } from "../vendor/preact.js";

/**
 * Return what a function reads; the newest answer wins, earlier requests are aborted.
 * @template T @param {(signal: AbortSignal) => Promise<T>} read @param {unknown[]} on read again when one of these changes
 * @returns {{data: T | undefined, error: any, isLoading: boolean}} the data of before is kept while it loads
 */
export function useLoad(read, on) {
  const [state, set] = useState({ data: undefined, error: null, isLoading: true });
  useEffect(() => {
    const control = new AbortController();
    set((before) => ({ ...before, isLoading: true }));
    read(control.signal).then(
      (data) => control.signal.aborted || set({ data, error: null, isLoading: false }),
      (error) => control.signal.aborted || set((before) => ({ ...before, error, isLoading: false })),
    );
    return () => control.abort();
  }, on);
  return state;
}

/** Return a value, at most once in so many milliseconds. @template T @param {T} value @param {number} pause @returns {T} */
export function useCalm(value, pause) {
  const calm = useRef({ value, at: -Infinity });
  const [, redraw] = useState(0);
  const isNew = !Object.is(value, calm.current.value);
  if (isNew && performance.now() >= calm.current.at + pause) calm.current = { value, at: performance.now() };
  useEffect(() => {
    if (Object.is(value, calm.current.value)) return undefined;
    const timer = setTimeout(() => redraw((times) => times + 1), Math.max(0, Math.ceil(calm.current.at + pause - performance.now()) + 1)) // a timer counts whole milliseconds;
    return () => clearTimeout(timer);
  }, [value, calm.current]);
  return calm.current.value;
}

/** Return True if a server does not have what was asked for. @param {any} error */
export const isMissing = (error) => [404, 405, 501].includes(error?.status);
