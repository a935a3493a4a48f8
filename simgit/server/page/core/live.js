// What changes while the page is open: events of the server, from one stream for all tabs.
import { Store } from "./store.js";
import { Stream } from "./worker.js";

/** "live", "connecting", "lost", or "refused": the server knows this session no more. */
export const connection = new Store("connecting");

/** @type {Map<string, Set<(data: any) => void>>} */
const listeners = new Map();

/**
 * Call a function at each event of a kind; return what ends that.
 * @param {string} kind of docs/http-api.md, "GET /v1/events" @param {(data: any) => void} listener
 */
export function on(kind, listener) {
  if (!listeners.has(kind)) listeners.set(kind, new Set());
  listeners.get(kind)?.add(listener);
  return () => listeners.get(kind)?.delete(listener);
}

function heard({ kind, data }) {
  if (kind === "connection") connection.set(data);
  for (const listener of listeners.get(kind) ?? []) listener(data);
}

/** Begin to listen; call it once, after signing in. */
export function listen() {
  if (typeof SharedWorker === "undefined") {
    const stream = new Stream();
    const follow = () => (document.hidden ? stream.remove(heard) : stream.add(heard));
    document.addEventListener("visibilitychange", follow); // a hidden tab gives its connection away
    follow();
    return;
  }
  const worker = new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name: "simgit" });
  worker.port.onmessage = ({ data }) => heard(data);
  worker.port.start();
  addEventListener("pagehide", () => worker.port.postMessage("bye"));
  addEventListener("pageshow", (event) => event.persisted && worker.port.postMessage("hello"));
  worker.port.postMessage("hello");
}
