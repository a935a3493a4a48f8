// A button with a panel below it; Escape or a click elsewhere closes it.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { useId } from "../core/id.js";

/**
 * What a button opens.
 * @param {{label: string, children: any, name?: string}} props label: text of the button; name: what it is called where the text is short
 */
export function Menu({ label, children, name }) {
  const [isOpen, setOpen] = useState(false);
  const box = useRef(/** @type {HTMLSpanElement | null} */ (null));
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const id = useId();
  useEffect(() => {
    if (!isOpen) return undefined;
    const leave = (event) => event.target instanceof Node && !box.current?.contains(event.target) && setOpen(false);
    addEventListener("pointerdown", leave);
    addEventListener("focusin", leave);
    return () => {
      removeEventListener("pointerdown", leave);
      removeEventListener("focusin", leave);
    };
  }, [isOpen]);
  function press(event) {
    if (event.key !== "Escape" || !isOpen || event.defaultPrevented) return;
    event.preventDefault();
    event.stopPropagation();
    setOpen(false);
    button.current?.focus();
  }
  return html`<span class="menu" ref=${box} onkeydown=${press}>
    <button type="button" ref=${button} aria-expanded=${isOpen} aria-controls=${isOpen ? id : null} aria-label=${name ?? null} onclick=${() => setOpen(!isOpen)}>${label} ▾</button>
    ${isOpen && html`<div class="menu-panel" id=${id} role="group" aria-label=${name ?? label}>${typeof children === "function" ? children(() => setOpen(false)) : children}</div>`}
  </span>`;
}
