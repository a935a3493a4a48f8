// The difference of two curves: b − a, each with its newest value.
import { html, useMemo } from "../../vendor/preact.js";
import { plain } from "../../core/format.js";
import { place } from "../../core/router.js";
import { useSeries } from "../../core/series.js";
import { useStore } from "../../core/store.js";
import { Chart } from "../../parts/chart.js";

const POINTS = 500;

/** @param {{a: any, b: any, tips: string}} props */
export function Difference({ a, b, tips }) {
  const { query } = useStore(place);
  const field = (query.y ?? "return").split(",")[0];
  const x = ["episode", "time"].includes(query.x) ? "episode" : "step"; // two times of day are not compared
  const { curves, error } = useSeries({ runs: [a.name, b.name], fields: [field], x, points: POINTS, smooth: Math.max(1, Number(query.smooth) || 1), tips });
  const made = useMemo(() => minus(curves.find((each) => each.run === a.name), curves.find((each) => each.run === b.name), field), [curves]);
  if (error) return html`<p class="said" role="alert">${plain(error.message)}</p>`;
  if (!made) return null;
  return html`<section aria-label="Difference"><h2>${plain(field)}: ${plain(b.name)} − ${plain(a.name)}</h2>
    ${made.x.length ? html`<${Chart} label=${`Difference of ${field}`} curves=${[made]} xLabel=${x} band=${false} height=${160} />`
      : html`<p class="muted">No ${x} has a value of ${plain(field)} in both runs.</p>`}</section>`;
}

/** Return the curve b − a, each with its newest value there, as far as both go; null before they are read. */
function minus(a, b, field) {
  if (!a || !b) return null;
  const found = { x: [], line: [] };
  const places = [...new Set([...a.x, ...b.x])].sort((x, y) => x - y);
  const end = Math.min(a.x[a.x.length - 1] ?? -1, b.x[b.x.length - 1] ?? -1);
  let [i, j] = [-1, -1];
  for (const place of places) {
    while (i + 1 < a.x.length && a.x[i + 1] <= place) i++;
    while (j + 1 < b.x.length && b.x[j + 1] <= place) j++;
    const [left, right] = [a.line[i], b.line[j]];
    if (place <= end && typeof left === "number" && typeof right === "number") {
      found.x.push(place);
      found.line.push(right - left);
    }
  }
  const label = `${field}, b − a`;
  return { run: "", field, label, width: Math.max(a.width, b.width), stop: Math.min(a.stop, b.stop), x: found.x, line: found.line, mean: found.line, min: found.line, max: found.line };
}
