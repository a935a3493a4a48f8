// An input that offers words while one types, as ARIA's combobox: arrows choose, Enter takes, Escape closes.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { plain } from "../core/format.js";
import { useId } from "../core/id.js";

/**
 * A text that is typed with help.
 * @param {{label: string, value: string, offer: (text: string, caret: number) => {from: number, to: number, words: import("../core/words.js").Word[]},
 *   onSubmit: (text: string) => void, placeholder?: string, type?: string, size?: number, input?: {current: HTMLInputElement | null}, takesAll?: boolean}} props
 *   takesAll: a word that is taken is the answer at once
 */
export function Combobox({ label, value, offer, onSubmit, placeholder, type = "text", size, input, takesAll }) {
  const own = useRef(/** @type {HTMLInputElement | null} */ (null));
  const element = input ?? own;
  const list = useRef(/** @type {HTMLUListElement | null} */ (null));
  const id = useId();
  const [text, setText] = useState(value);
  const [found, setFound] = useState({ from: 0, to: 0, words: [] });
  const [at, setAt] = useState(-1);
  const isOpen = found.words.length > 0;
  useEffect(() => setText(value), [value]);
  useEffect(() => list.current?.children[at]?.scrollIntoView({ block: "nearest" }), [at]);

  const close = () => { setFound({ from: 0, to: 0, words: [] }); setAt(-1); };
  function look(target) {
    setText(target.value);
    setAt(-1);
    setFound(offer(target.value, target.selectionStart ?? target.value.length));
  }
  function take(word) {
    const next = text.slice(0, found.from) + word + text.slice(found.to);
    const caret = found.from + word.length;
    setText(next);
    close();
    const box = element.current;
    if (takesAll || !box) return void onSubmit(next);
    box.value = next;
    box.focus();
    box.setSelectionRange(caret, caret);
  }
  function press(event) {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && !isOpen && move > 0) look(event.target);
    else if (move && isOpen) setAt((before) => (before + move + found.words.length + (before < 0 && move < 0 ? 1 : 0)) % found.words.length);
    else if ((event.key === "Enter" || event.key === "Tab") && isOpen && at >= 0) take(found.words[at].text);
    else if (event.key === "Enter") { close(); onSubmit(text.trim()); }
    else if (event.key === "Escape" && isOpen) close();
    else if (event.key === "Escape") {
      setText(value);
      event.target.value = value; // at once: leaving it tells what it has
      event.target.blur();
    } else return;
    event.preventDefault(); // a search input would empty itself
    event.stopPropagation();
  }
  return html`<span class="combobox">
    <input ref=${element} type=${type} role="combobox" aria-label=${label} aria-expanded=${isOpen} aria-autocomplete="list" autocomplete="off" spellcheck=${false}
      aria-controls=${isOpen ? id : null} aria-activedescendant=${at >= 0 ? `${id}-${at}` : null} placeholder=${placeholder} size=${size} value=${text}
      oninput=${(event) => look(event.target)} onkeydown=${press} onblur=${close}
      onchange=${(event) => event.target.value === "" && value && onSubmit("")} />
    ${isOpen && html`<ul role="listbox" id=${id} ref=${list} aria-label=${`${label}: words`}>
      ${found.words.map((word, index) => html`<li key=${word.text} id=${`${id}-${index}`} role="option" aria-selected=${index === at}
        onpointerdown=${(event) => { event.preventDefault(); take(word.text); }}><span>${plain(word.text)}</span><span class="muted">${word.note}</span></li>`)}
    </ul>`}
  </span>`;
}
