// Views of the runs that a person has named: addresses, kept by the browser.
import { html, useState } from "../vendor/preact.js";
import { plain } from "../core/format.js";
import { go, place } from "../core/router.js";
import { Store, useStore } from "../core/store.js";
import { Menu } from "./menu.js";
import { fail, say } from "./notice.js";

const KEY = "simgit.views";

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.fromEntries(Object.entries(found).filter(([, to]) => typeof to === "string" && /^\/(?!\/)/.test(to)));
  } catch {
    return {}; // another program's text
  }
}

/** Addresses by name. @type {Store<Record<string, string>>} */
const views = new Store(read());

function keep(next) {
  try {
    localStorage.setItem(KEY, JSON.stringify(next));
    views.set(next);
    return true;
  } catch (error) {
    fail(new Error("the browser keeps no views: it has no room, or is told to keep nothing"));
    return false;
  }
}

addEventListener("storage", (event) => event.key === KEY && views.set(read())); // another tab

/** What is shown, without what a row or a moment of looking is. */
function here() {
  const query = new URLSearchParams(location.search);
  for (const name of ["at", "as_of"]) query.delete(name);
  const text = query.toString();
  return text ? `${location.pathname}?${text}` : location.pathname;
}

/** The menu of views. */
export function Views() {
  useStore(place);
  const known = Object.entries(useStore(views)).sort(([a], [b]) => (a < b ? -1 : 1));
  const [name, setName] = useState("");
  function save(event) {
    event.preventDefault();
    const text = name.trim();
    if (!text || !keep({ ...views.value, [text]: here() })) return;
    setName("");
    say(`view '${text}' is saved in this browser`);
  }
  const remove = (text) => {
    const { [text]: to, ...rest } = views.value;
    if (keep(rest)) say(`view '${text}' is deleted`, { undo: () => keep({ ...views.value, [text]: to }) && say(`view '${text}' is back`) });
  };
  return html`<${Menu} label="views" name="Views">${(close) => html`
    ${known.length === 0 && html`<span class="muted">A view is what is shown now: condition, columns, curves and zoom.</span>`}
    <ul class="plain">${known.map(([text, to]) => html`<li key=${text}>
      <a href=${to} aria-current=${to === here() ? "true" : null} onclick=${(event) => { event.preventDefault(); close(); go(to); }}>${plain(text)}</a>
      <button type="button" class="quiet" aria-label=${`Delete the view ${text}`} onclick=${() => remove(text)}>✕</button></li>`)}</ul>
    <form onsubmit=${save}><input aria-label="Name of this view" placeholder="name of this view" value=${name} oninput=${(event) => setName(event.target.value)} required />
      <button>Save</button></form>`}</${Menu}>`;
}
