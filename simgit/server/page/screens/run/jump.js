// The next state that fulfils a condition.
import { send, url } from "../../core/api.js";

const LEAST = 1000; // the most lines of an answer: a window of so many states is seen whole

/**
 * Return the step of the nearest state after or before a step that fulfils a condition, null if there is none.
 * The log lists the newest first, so that a way forward looks at windows that grow.
 * @param {string} oid of the newest state @param {number} step @param {number} tip @param {string} where @param {1 | -1} way @param {AbortSignal} signal
 */
export async function jump(oid, step, tip, where, way, signal) {
  if (way < 0) {
    if (step <= 0) return null;
    const found = await send("GET", url("log", `${oid}@${step - 1}`, { where, limit: 1 }), { signal });
    return found[0]?.step ?? null;
  }
  let [start, size] = [step, LEAST];
  while (start < tip) {
    const end = Math.min(tip, start + size);
    const response = await send("GET", url("log", `${oid}@${start}..${oid}@${end}`, { where, limit: LEAST }), { signal, as: "response" });
    const found = await response.json();
    if (found.length && !response.headers.has("Link")) return found[found.length - 1].step;
    if (found.length) size = Math.max(LEAST, Math.floor(size / 8)); // more than are told: look nearer
    else [start, size] = [end, size * 4];
  }
  return null;
}
