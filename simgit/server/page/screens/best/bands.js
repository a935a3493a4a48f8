// The mean of groups of runs with its confidence interval, as curves and as a table.
import { html } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { json, number, plain } from "../../core/format.js";
import { isMissing, useLoad } from "../../core/load.js";
import { numeric } from "../../core/numbers.js";
import { place, setQuery } from "../../core/router.js";
import { useStore } from "../../core/store.js";
import { settingsOf } from "../../core/words.js";
import { Chart } from "../../parts/chart.js";
import { Table } from "../../parts/table.js";

const FIELDS = ["return", "length"];

/**
 * Groups of runs by a setting; what is grouped by is part of the address.
 * @param {{where?: string, known: Map<string, any> | null}} props
 */
export function Bands({ where, known }) {
  const { query } = useStore(place);
  const settings = settingsOf(known?.values() ?? []);
  const by = query.group ?? "";
  const field = FIELDS.includes(query.of) ? query.of : FIELDS[0];
  const found = useLoad((signal) => (by ? get("bands", "", { by, field, where, points: 300 }, { signal }) : Promise.resolve(null)), [by, field, where]);
  const { step = [], width = 1, groups = [], confidence = 0.95 } = found.data ?? {};
  const bands = groups.map((band) => ({ ...band, label: band.value === null ? `without ${by}` : `${by} = ${json(band.value, 40)}` }));
  return html`<section class="panel" aria-labelledby="bands">
    <header class="tools"><h2 id="bands">Groups of runs</h2>
      <label>by <select value=${by} onchange=${(event) => setQuery({ group: event.target.value || null })}>
        <option value="">no setting</option>
        ${settings.map(({ name }) => html`<option value=${name}>${plain(name)}</option>`)}
        ${by && !settings.some(({ name }) => name === by) && html`<option value=${by}>${plain(by)}</option>`}</select></label>
      <label>of <select value=${field} onchange=${(event) => setQuery({ of: event.target.value === FIELDS[0] ? null : event.target.value })}>
        ${FIELDS.map((name) => html`<option value=${name}>${name} of an episode</option>`)}</select></label></header>
    ${!by && html`<p class="muted">${settings.length ? "Choose a setting: runs with the same value are one group, shown as their mean and its confidence interval." : "No run has settings by which runs could be grouped."}</p>`}
    ${by && found.error && (isMissing(found.error) ? html`<p class="muted">Groups are not available here.</p>` : html`<p class="error" role="alert">${plain(found.error.message)}</p>`)}
    ${by && !found.error && !found.data && html`<p class="muted" role="status">reading …</p>`}
    ${by && !found.error && found.data && html`
      ${bands.length > 0 && html`<${Chart} label=${`Mean ${field} of groups`} curves=${bands.map((band) => curveOf(band, step, width))} xLabel="step" />`}
      <${Table} label="Groups" rows=${bands} rowKey=${(band) => band.label} empty="No run has an episode that has ended." columns=${[
        { key: "group", title: plain(by), width: "minmax(8rem, 2fr)", draw: (band) => (band.value === null ? html`<span class="muted">not set</span>` : json(band.value)) },
        { key: "runs", title: "runs", isNumber: true, width: "5rem", draw: (band) => number(band.runs.length) },
        { key: "mean", title: `mean ${field}, newest`, isNumber: true, width: "9rem", draw: (band) => number(newest(band, "mean")) },
        { key: "interval", title: `${Math.round(100 * confidence)} % interval`, isNumber: true, width: "11rem", draw: interval },
      ]} />`}
  </section>`;
}

/** Return a part of a band where its newest mean is: mean and interval are of the same step. */
const newest = (band, part) => band[part][band.mean.findLastIndex((value) => value !== null)] ?? null;
const interval = (band) => (newest(band, "low") === null ? html`<span class="muted">of one run there is none</span>` : `${number(newest(band, "low"))} … ${number(newest(band, "high"))}`);

/** Return a band as a curve: its interval is drawn as least to greatest are; buckets without a value are left out. */
function curveOf(band, step, width) {
  const has = (_, index) => band.mean[index] !== null;
  const [x, mean, min, max] = [step, band.mean, band.low, band.high].map((values) => values.filter(has).map(numeric));
  return { run: band.label, field: "mean", label: band.label, width, stop: (x[x.length - 1] ?? 0) + width, x, mean, line: mean, min, max };
}
