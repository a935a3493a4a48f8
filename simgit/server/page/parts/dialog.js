// A dialog above the page: the browser keeps the focus inside, and Escape closes it.
import { html, useEffect, useRef } from "../vendor/preact.js";
import { Store, useStore } from "../core/store.js";

/** What the open dialog shows; null for none. @type {Store<(() => any) | null>} */
const shown = new Store(null);

/** Open a dialog. @param {() => any} draw returns its content, a Dialog */
export const openDialog = (draw) => shown.set(() => draw);
/** Close the dialog. */
export const closeDialog = () => shown.set(null);

/** The place where dialogs appear; once in the page. */
export function Dialogs() {
  const draw = useStore(shown);
  return draw && html`<${draw} />`;
}

/** A dialog. @param {{title: string, children: any, isWide?: boolean}} props */
export function Dialog({ title, children, isWide }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  return html`<dialog ref=${element} class=${isWide ? "wide" : ""} aria-labelledby="dialog-title" onclose=${closeDialog}>
    <header><h2 id="dialog-title">${title}</h2>
      <button type="button" class="quiet" aria-label="Close" onclick=${closeDialog}>✕</button></header>
    ${children}
  </dialog>`;
}

/** Tells that a dialog is closed, in whatever way. @param {{onEnd: () => void}} props */
function Ending({ onEnd }) {
  useEffect(() => onEnd, []);
  return null;
}

/** Ask before something is done; the answer is a promise. @param {string} title @param {any} text @param {string} action */
export function confirm(title, text, action) {
  return new Promise((resolve) => {
    const end = (answer) => { resolve(answer); closeDialog(); };
    openDialog(() => html`<${Dialog} title=${title}>
      <${Ending} onEnd=${() => resolve(false)} />
      <p>${text}</p>
      <footer><button type="button" onclick=${() => end(false)}>Cancel</button>
        <button type="button" class="main" onclick=${() => end(true)}>${action}</button></footer>
    </${Dialog}>`);
  });
}
