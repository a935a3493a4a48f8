// Values that components follow.
import { useLayoutEffect, useState } from "../vendor/preact.js";

/** A value with listeners. @template T */
export class Store {
  /** @param {T} value */
  constructor(value) {
    this.value = value;
    /** @type {Set<(value: T) => void>} */
    this.listeners = new Set();
  }

  /** Set the value, or what a function makes of it. @param {T | ((value: T) => T)} next */
  set(next) {
    const value = typeof next === "function" ? next(this.value) : next;
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const listener of [...this.listeners]) listener(value);
  }

  /** Call a function at each change; return what ends that. @param {(value: T) => void} listener */
  follow(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/**
 * Return a part of a store's value; the component is drawn again when that part changes.
 * @template T, U @param {Store<T>} store @param {(value: T) => U} [part]
 */
export function useStore(store, part = (value) => value) {
  const [, redraw] = useState(0);
  const now = part(store.value);
  useLayoutEffect(() => {
    let shown = now;
    const look = () => {
      const next = part(store.value);
      if (Object.is(next, shown)) return;
      shown = next;
      redraw((count) => count + 1);
    };
    look(); // it may have changed since it was drawn
    return store.follow(look);
  });
  return now;
}
