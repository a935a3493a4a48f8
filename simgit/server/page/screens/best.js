// The runs in the order of a measure, and the mean of groups of them.
import { html, useMemo } from "../vendor/preact.js";
import { get } from "../core/api.js";
import { command, json, number, plain, plural } from "../core/format.js";
import { useKeys } from "../core/keys.js";
import { useCalm, useLoad } from "../core/load.js";
import { address, go, place, setQuery } from "../core/router.js";
import { changes, runs, simulations } from "../core/runs.js";
import { useStore } from "../core/store.js";
import { choices, FIELDS, flat, MEASURES, settingsOf } from "../core/words.js";
import { Combobox } from "../parts/combobox.js";
import { Phase } from "../parts/phase.js";
import { Table } from "../parts/table.js";
import { Bands } from "./best/bands.js";

const DEFAULT = "mean(return, 10)";
const MOST = 1000;
const AGAIN = 2000;
const NUMBERS = ["step", "states", "episodes", "return", "best_return", "mean_return", "mean_length"];

/** The screen of the best runs; measure, order and condition are part of the address. */
export function Screen() {
  const { query } = useStore(place);
  const by = query.by || DEFAULT;
  const lowest = query.lowest === "1";
  const known = useStore(runs);
  const live = useStore(simulations);
  const change = useCalm(useStore(changes), AGAIN);
  const found = useLoad((signal) => get("best", "", { by, where: query.where, lowest: lowest || null, limit: MOST }, { signal }), [by, query.where, lowest, change]);
  const rows = found.data ?? [];
  const names = rows.map((row) => row.name);
  const current = names.includes(query.at) ? query.at : (names[0] ?? null);
  const offered = useMemo(() => [...MEASURES.map((text) => ({ text, note: "measure" })),
    ...FIELDS.filter((name) => NUMBERS.includes(name)).map((text) => ({ text, note: "field" })),
    ...settingsOf(known?.values() ?? []).map(({ name }) => ({ text: name, note: "setting" }))], [known]);
  const move = (step) => names.length && setQuery({ at: names[Math.max(0, Math.min(names.length - 1, names.indexOf(current) + step))] });
  useKeys({
    j: ["next run", () => move(1)], k: ["run before", () => move(-1)],
    Enter: ["open the run", () => current && go(address("run", current))],
  });
  const greatest = rows.reduce((most, row) => Math.max(most, Math.abs(row.value)), 0);
  const columns = [
    { key: "rank", title: "#", isNumber: true, width: "3rem", draw: (row) => number(row.rank) },
    { key: "name", title: "run", width: "minmax(10rem, 2fr)", draw: (row) => html`<a href=${address("run", row.name)} tabindex="-1">${plain(row.name)}</a>` },
    { key: "value", title: plain(by), isNumber: true, width: "9rem", draw: (row) => html`<b>${number(row.value)}</b>` },
    { key: "bar", title: html`<span class="unseen">in proportion</span>`, width: "minmax(4rem, 1fr)", draw: (row) => html`<meter min="0" max=${greatest || 1} value=${Math.abs(row.value)} aria-label=${`${number(row.value)} of ${number(greatest)}`}></meter>` },
    { key: "status", title: "status", width: "7rem", draw: (row) => html`<${Phase} run=${known?.get(row.name) ?? row} simulation=${live.get(row.name)} />` },
    { key: "episodes", title: "episodes", isNumber: true, width: "5rem", draw: (row) => number(row.episodes) },
    { key: "step", title: "step", isNumber: true, width: "6rem", draw: (row) => number(row.step) },
    { key: "config", title: "own settings", width: "minmax(8rem, 2fr)", draw: (row) => html`<span class="muted">${flat(row.overrides).map(([key, value]) => `${plain(key)} ${json(value, 40)}`).join("  ")}</span>` },
  ];
  return html`<div class="best">
    <div class="tools">
      <h1>Best runs</h1>
      <label>by <${Combobox} label="Measure" value=${by} size="24" takesAll offer=${(text) => choices(text === by ? "" : text, offered)}
        onSubmit=${(text) => setQuery({ by: text === DEFAULT ? null : text || null }, false)} /></label>
      <label><input type="checkbox" checked=${lowest} onchange=${(event) => setQuery({ lowest: event.target.checked ? "1" : null })} /> lowest first</label>
      <span class="spread"></span>
      <span class="muted" role="status">${found.data ? left(rows.length, known, query.where) : found.error ? "" : "reading …"}</span>
      <code class="command">${command("run", "best", ...(by === DEFAULT ? [] : ["--by", by]), ...(lowest ? ["--lowest"] : []), ...(query.where ? ["--where", query.where] : []))}</code>
    </div>
    ${found.error ? html`<p class="error" role="alert">${plain(found.error.message)}</p>` : html`<${Table} label="Best runs" columns=${columns} rows=${rows} rowKey=${(row) => row.name}
      current=${current} onCurrent=${(name) => setQuery({ at: name })} onOpen=${(row) => go(address("run", row.name))}
      empty=${found.isLoading ? "reading …" : `No run has '${plain(by)}'${query.where ? " and fulfils the condition" : ""}.`} />`}
    <${Bands} where=${query.where} by=${query.group} known=${known} />
  </div>`;
}

/** Tell how many runs are ranked; those without the measure are left out. */
function left(count, known, where) {
  const without = known && !where ? known.size - count : 0;
  return `${plural(count, "run")}${without > 0 && count < MOST ? `; ${without} without this measure` : ""}`;
}
