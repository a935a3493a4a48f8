// What was done, with the command that does the same; and what was refused.
import { html, useEffect } from "../vendor/preact.js";
import { plain } from "../core/format.js";
import { Store, useStore } from "../core/store.js";

/** @typedef {{text: string, command?: string, isError?: boolean, undo?: () => void}} Notice */

/** @type {Store<Notice | null>} */
const notice = new Store(null);
const LASTS = 8000;

/** Show what was done. @param {string} text @param {{command?: string, undo?: () => void}} [more] */
export const say = (text, more = {}) => notice.set({ text, ...more });

/** Show an error; one that was aborted is none. @param {any} error */
export function fail(error) {
  if (error?.name !== "AbortError") notice.set({ text: error.message, isError: true });
}

/** Do something, and show what was done or why not. @param {() => Promise<any>} work @param {string} [text] @param {string} [command] */
export async function attempt(work, text, command) {
  try {
    const found = await work();
    if (text) say(text, { command });
    return found;
  } catch (error) {
    fail(error);
    return undefined;
  }
}

/** The place of notices; once in the page. */
export function Notices() {
  const now = useStore(notice);
  useEffect(() => {
    if (!now || now.isError) return undefined;
    const timer = setTimeout(() => notice.set(null), LASTS);
    return () => clearTimeout(timer);
  }, [now]);
  return html`<div class="notices" role="status" aria-live="polite">
    ${now && html`<div class=${now.isError ? "notice error" : "notice"}>
      <span>${now.isError ? "⚠ " : ""}${plain(now.text)}</span>
      ${now.command && html`<code>${plain(now.command)}</code>`}
      ${now.undo && html`<button type="button" onclick=${now.undo}>Undo</button>`}
      <button type="button" class="quiet" aria-label="Dismiss" onclick=${() => notice.set(null)}>✕</button>
    </div>`}
  </div>`;
}
