// What a simulation takes of the machine: processor and memory over time.
import { html, useEffect, useMemo, useRef, useState } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { bytes, number, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { arrayOf, numeric } from "../../core/numbers.js";
import { Chart } from "../../parts/chart.js";

const EVERY = 2000;
const MOST = 900; // samples of half an hour
const MEMORY = 2 ** 20;

/** @param {{run: any, simulation: any}} props */
export function Panel({ run, simulation }) {
  const isOn = Boolean(simulation) && !simulation.outcome;
  const kept = useLoad((signal) => recorded(run.name, signal), [run.name, isOn]);
  const { samples, error } = useSamples(run.name, isOn);
  const past = kept.data ?? [];
  const all = [...past, ...samples.filter((row) => !past.length || row.time > past[past.length - 1].time)];
  const newest = all[all.length - 1];
  const [cpu, memory] = useMemo(() => [curve(all, "cpu", (row) => row.cpu), curve(all, "memory", (row) => row.memory / MEMORY)], [all.length]);
  if (kept.error || error) return html`<p class="error" role="alert">${plain((kept.error ?? error).message)}</p>`;
  if (!all.length) return html`<p class="empty">${isOn ? "No sample yet: one is taken every two seconds, if psutil is installed." : "No usage was recorded: it is sampled while a simulation runs."}</p>`;
  return html`<p class="totals"><span>CPU <b>${number(newest.cpu, 3)} %</b></span><span>memory <b>${bytes(newest.memory)}</b></span>
      ${newest.threads !== undefined && html`<span><b>${number(newest.threads)}</b> threads</span>`}
      ${newest.read !== undefined && html`<span>read <b>${bytes(newest.read)}</b></span><span>written <b>${bytes(newest.written)}</b></span>`}</p>
    ${all.length < 2 ? html`<p class="muted">The second sample makes a curve.</p>` : html`<div class="grid"><${Chart} label="CPU in percent of a processor" curves=${[cpu]} xLabel="time" band=${false} isTime=${true} height=${180} />
      <${Chart} label="Memory in MiB" curves=${[memory]} xLabel="time" band=${false} isTime=${true} height=${180} /></div>`}`;
}

function curve(rows, label, of) {
  const line = rows.map(of);
  return { run: "", field: label, label: label === "cpu" ? "CPU %" : "memory MiB", width: 0, stop: rows.length, x: rows.map((row) => row.time), mean: line, min: line, max: line, line };
}

/** Samples that are kept with the run, as rows. */
async function recorded(name, signal) {
  const columns = Object.entries(await get("usage", name, {}, { signal }));
  return Array.from({ length: columns[0]?.[1].length ?? 0 }, (_, index) => Object.fromEntries(columns.map(([key, values]) => [key, values[index]])));
}

/** Samples of now on, while it runs and the tab is seen. */
function useSamples(name, isOn) {
  const [samples, set] = useState(/** @type {any[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const last = useRef(0);
  useEffect(() => {
    if (!isOn) return undefined;
    const control = new AbortController();
    const ask = () => document.hidden || get("simulations", name, {}, { signal: control.signal }).then(({ usage }) => {
      if (!usage || usage.time <= last.current) return;
      last.current = usage.time;
      set((before) => [...before, usage].slice(-MOST));
      setError(null);
    }, (found) => control.signal.aborted || setError(found));
    ask();
    const timer = setInterval(ask, EVERY);
    return () => {
      clearInterval(timer);
      control.abort();
    };
  }, [name, isOn]);
  return { samples, error };
}
