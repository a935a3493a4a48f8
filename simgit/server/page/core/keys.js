// Keys: what one does is told by its screen, so that the help lists what works now.
import { useEffect } from "../vendor/preact.js";
import { Store } from "./store.js";

/** @typedef {{key: string, text: string, run: (event: KeyboardEvent) => void}} Key */

/** The keys that work now, the newest screen's last. @type {Store<Key[]>} */
export const keys = new Store([]);

const isTyping = (target) =>
  target instanceof Element && (target.closest("input, select, textarea, [contenteditable]") !== null);

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const own = { " ": "button, a, summary", Enter: "button, a, summary" }[event.key] ?? (event.key.startsWith("Arrow") ? "[role=tab]" : "");
  if (event.target instanceof Element && own && event.target.closest(`${own}, [role=slider], [role=application]`)) return;
  const pressed = `${event.shiftKey && event.key.length > 1 ? "Shift+" : ""}${event.key === " " ? "Space" : event.key}`;
  const found = keys.value.findLast((each) => each.key === pressed);
  if (!found) return;
  event.preventDefault();
  found.run(event);
});

/**
 * Give keys while a component is shown.
 * @param {Record<string, [string, (event: KeyboardEvent) => void]>} given key, such as "f", "Space" or "Shift+ArrowLeft", to what it does
 */
export function useKeys(given) {
  useEffect(() => {
    const mine = Object.entries(given).map(([key, [text, run]]) => ({ key, text, run }));
    keys.set((all) => [...all, ...mine]);
    return () => keys.set((all) => all.filter((each) => !mine.includes(each)));
  });
}
