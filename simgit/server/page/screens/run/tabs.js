// Tabs: one of several panels, by mouse or arrow keys.
import { html, useRef } from "../../vendor/preact.js";

/**
 * @param {{label: string, tabs: [string, string][], chosen: string, onChoose: (key: string) => void, children: any}} props
 *   tabs: keys and what they are called
 */
export function Tabs({ label, tabs, chosen, onChoose, children }) {
  const list = useRef(/** @type {HTMLDivElement | null} */ (null));
  function press(event) {
    const at = tabs.findIndex(([key]) => key === chosen);
    const next = { ArrowLeft: (at - 1 + tabs.length) % tabs.length, ArrowRight: (at + 1) % tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    onChoose(tabs[next][0]);
    /** @type {HTMLElement | undefined} */ (list.current?.children[next])?.focus();
  }
  return html`<div class="tabbed">
    <div role="tablist" aria-label=${label} ref=${list} onkeydown=${press}>
      ${tabs.map(([key, text]) => html`<button type="button" role="tab" key=${key} id=${`tab-${key}`} aria-selected=${key === chosen} aria-controls=${key === chosen ? "tab-panel" : null}
        tabindex=${key === chosen ? 0 : -1} onclick=${() => onChoose(key)}>${text}</button>`)}
    </div>
    <div role="tabpanel" id="tab-panel" aria-labelledby=${`tab-${chosen}`} tabindex="0">${children}</div>
  </div>`;
}
