// The address of the page is what it shows: a link is a view.
import { Store } from "./store.js";

/** @typedef {{screen: string, name: string, query: Record<string, string>}} Place */

/** @returns {Place} */
function here() {
  const [, screen, ...rest] = location.pathname.split("/");
  const name = rest.map(decodeURIComponent).join("/");
  return { screen: screen || "runs", name, query: Object.fromEntries(new URLSearchParams(location.search)) };
}

/** What is shown. */
export const place = new Store(here());
addEventListener("popstate", () => place.set(here()));

/**
 * Return the address of a screen.
 * @param {string} screen @param {string} [name] of a run or a revision
 * @param {Record<string, unknown>} [query] without what is null, undefined or ""
 */
export function address(screen, name = "", query = {}) {
  const path = ["", screen, ...(name ? name.split("/").map(encodeURIComponent) : [])].join("/");
  const kept = Object.entries({ as_of: place.value.query.as_of, ...query }).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/** Show another place. @param {string} to @param {boolean} [replaces] the entry of the history */
export function go(to, replaces = false) {
  if (to === location.pathname + location.search) return;
  history[replaces ? "replaceState" : "pushState"](null, "", to);
  place.set(here());
}

/** Change parameters of the address; null removes one. @param {Record<string, unknown>} changes */
export function setQuery(changes, replaces = true) {
  const { screen, name, query } = place.value;
  go(address(screen, name, { ...query, ...changes }), replaces);
}

/** Follow links within the page. */
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element && event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.pathname.startsWith("/v1/") || link.target || link.download) return;
  if (url.hash && url.pathname + url.search === location.pathname + location.search) return; // a place in this page
  event.preventDefault();
  go(url.pathname + url.search);
});

// --- looking at the repository as it was: 'as_of=N' in the address is part of every read ---

/** What is only known of the present, and what shows the way back to it. */
const PRESENT = new Set(["version", "session", "settings", "types", "simulations", "lines", "usage", "questions", "answers", "events", "stats", "reflog",
  "unreachable", "machine", "jobs", "gc", "fsck", "verify", "exports", "operations", "changes", "undo", "redo", "restore", "openapi.json", "health"]);

/** Return the operation after which the repository is looked at; null for now. */
export const asOf = () => (/^\d+$/.test(place.value.query.as_of ?? "") ? Number(place.value.query.as_of) : null);

/** Return the same for reading a resource. @param {string} noun such as "simulations/stop" */
export const pastOf = (noun) => (PRESENT.has(noun.split("/")[0]) ? null : asOf());
