// The repository: its bytes, its upkeep, its operations, tags, lost objects, machine and settings.
import { html } from "../vendor/preact.js";
import { place, setQuery } from "../core/router.js";
import { useStore } from "../core/store.js";
import { Machine } from "./repository/machine.js";
import { Operations } from "./repository/operations.js";
import { History, Tags, Unreachable } from "./repository/references.js";
import { Settings } from "./repository/settings.js";
import { Storage } from "./repository/storage.js";
import { Upkeep } from "./repository/upkeep.js";

const PARTS = {
  operations: ["Operations", Operations], storage: ["Storage", Storage], upkeep: ["Upkeep", Upkeep], tags: ["Tags", Tags], history: ["History of a ref", History],
  unreachable: ["Unreachable", Unreachable], machine: ["Machine", Machine], settings: ["Settings", Settings],
};

/** The screen of the repository; its part is in the address. */
export function Screen() {
  const tab = useStore(place, ({ query }) => (query.tab && query.tab in PARTS ? query.tab : "operations"));
  const [title, Part] = PARTS[tab];
  const show = (name) => setQuery({ tab: name === "operations" ? null : name, at: null }, false);
  return html`<div class="repository">
    <h1 class="unseen">Repository</h1>
    <div class="sections" role="group" aria-label="Parts of the repository">${Object.entries(PARTS).map(([name, [text]]) =>
      html`<button type="button" key=${name} class="quiet" aria-pressed=${name === tab} onclick=${() => show(name)}>${text}</button>`)}</div>
    <section aria-label=${title}><${Part} key=${tab} /></section>
  </div>`;
}
