// A chart of curves by buckets: mean as a line, least to greatest as a band.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { digitsFor, number, plain, plural } from "../core/format.js";
import { useStore } from "../core/store.js";
import uPlot from "../vendor/uplot.js";
import { drawBands } from "./band.js";
import { colour, painted, strokeOf } from "./colors.js";
import { drawMarks } from "./marks.js";

/**
 * A curve: x is the beginning of each bucket.
 * @typedef {{run: string, field: string, label: string, width: number, stop: number, x: number[],
 *   mean: (number | null)[], min: (number | null)[], max: (number | null)[], line: (number | null)[]}} Curve
 */

/** Return the columns that uPlot draws: all x, then line, max and min of each curve. @param {Curve[]} curves */
function aligned(curves, withBand) {
  const all = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const place = new Map(all.map((x, index) => [x, index]));
  const spread = (curve, values) => {
    const column = new Array(all.length).fill(undefined); // undefined joins the neighbours, null is a gap
    curve.x.forEach((x, index) => (column[place.get(x)] = Number.isFinite(values[index]) ? values[index] : null));
    return column;
  };
  return [all, ...curves.flatMap((curve) =>
    withBand ? [spread(curve, curve.line), spread(curve, curve.max), spread(curve, curve.min)] : [spread(curve, curve.line)])];
}

const MANY = 150;
/** A line of many points is one pixel wide where the screen has large ones: that is drawn many times faster. @param {Curve} curve */
const lineWidth = (curve) => (curve.x.length > MANY && devicePixelRatio <= 1 ? 1 : 1.6);

function strokes(curves, withBand) {
  const series = [{ label: "x" }];
  for (const curve of curves) {
    const { variable, dash } = strokeOf(curve.label);
    const stroke = colour(variable);
    series.push({ label: plain(curve.label), stroke, width: lineWidth(curve), dash, points: { show: curve.x.length < 40, size: 4 } });
    if (!withBand) continue;
    const edge = { paths: () => null, points: { show: false } }; // for the scale: band.js draws between them
    series.push(edge, edge);
  }
  return series;
}

/**
 * A chart; drag or Shift with the arrows zooms, a double click shows all, a click picks a step.
 * @param {{label: string, curves: Curve[], xLabel: string, band?: boolean, marks?: import("./marks.js").Mark[],
 *   height?: number, onZoom?: (from: number | null, to: number | null) => void,
 *   onPick?: (curve: Curve, x: number) => void, cursor?: number | null, isTime?: boolean, from?: number | null, to?: number | null}} props from, to: the part that is shown; null: all
 */
export function Chart({ label, curves, xLabel, band = true, marks = [], height = 260, onZoom, onPick, cursor, isTime = false, from = null, to = null }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const now = useRef({});
  now.current = { curves, marks, onZoom, onPick, cursor };
  const colours = useStore(painted);
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const shape = JSON.stringify([curves.map((curve) => curve.label), band, colours, xLabel, isTime]);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const axis = () => ({ stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: `12px ${colour("--font")}` });
    const options = {
      width: Math.max(50, element.clientWidth), height, series: strokes(curves, band),
      legend: { show: false },
      scales: { x: { time: isTime } },
      axes: [
        { ...axis(), size: isTime ? 46 : 34, ...(isTime ? {} : { label: xLabel, labelFont: `12px ${colour("--font")}`, labelSize: 18 }) }, // times say what they are
        { ...axis(), size: (_, texts) => Math.max(62, 16 + 7 * Math.max(0, ...(texts ?? []).map((text) => text.length))), values: (_, ticks) => tickTexts(ticks) },
      ],
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, focus: { prox: 24 } },
      focus: { alpha: 0.35 },
      hooks: {
        setCursor: [(u) => setAt(u.cursor.idx ?? null)],
        setSelect: [(u) => {
          const { left, width } = u.select;
          if (width < 4) return;
          now.current.onZoom?.(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
        drawAxes: [(u) => band && drawBands(u, now.current.curves)],
        draw: [(u) => drawMarks(u, now.current)],
      },
    };
    plot.current = new uPlot(options, aligned(curves, band), element);
    const over = plot.current.over;
    over.addEventListener("dblclick", () => now.current.onZoom?.(null, null));
    over.addEventListener("click", () => pick(plot.current, now.current));
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(50, element.clientWidth), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape, height]);

  const drawn = useRef(/** @type {Curve[] | null} */ (null));
  useLayoutEffect(() => {
    const u = plot.current;
    const isWhole = from === null && to === null;
    if (u) curves.forEach((curve, index) => (u.series[1 + index * (band ? 3 : 1)].width = lineWidth(curve)));
    u?.batch(() => {
      if (drawn.current !== curves || isWhole) u.setData(aligned(curves, band), isWhole);
      const xs = u.data[0];
      const [min, max] = [from ?? xs[0], to ?? xs[xs.length - 1]];
      if (!isWhole && max > min) u.setScale("x", { min, max });
    });
    drawn.current = curves;
  }, [curves, from, to, shape]);
  useEffect(() => plot.current?.redraw(false), [cursor, JSON.stringify(marks)]);

  function press(event) {
    const u = plot.current;
    if (!u?.data[0].length) return;
    const xs = u.data[0];
    const place = u.cursor.idx ?? 0;
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: xs.length - 1, PageUp: place - 20, PageDown: place + 20 }[event.key];
    if (next !== undefined && !event.shiftKey) {
      const index = Math.max(0, Math.min(xs.length - 1, next));
      u.setCursor({ left: u.valToPos(xs[index], "x"), top: u.over.clientHeight / 2 });
    } else if (event.key === "+" || event.key === "-") {
      const [low, high] = [u.scales.x.min, u.scales.x.max];
      const middle = xs[place] ?? (low + high) / 2;
      const scale = event.key === "+" ? 0.5 : 2;
      if (event.key === "-" && low <= xs[0] && high >= xs[xs.length - 1]) onZoom?.(null, null);
      else onZoom?.(middle - (middle - low) * scale, middle + (high - middle) * scale);
    } else if (event.key === "0") onZoom?.(null, null);
    else if (event.key === "Enter") pick(u, now.current);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const x = at === null ? null : (plot.current?.data[0][at] ?? null);
  const digits = useMemo(() => new Map(curves.map((curve) => [curve, digitsOf(curve)])), [curves]);
  const text = (curve, value) => number(value, digits.get(curve));
  const said = x === null ? "" : `${xLabel} ${number(x)}: ${curves.map((curve) => `${plain(curve.label)} ${text(curve, valueAt(curve, x))}`).join(", ")}${marksAt(marks, x, plot.current?.data[0][at + 1])}`;
  const widths = [...new Set(curves.map((curve) => curve.width))].filter(Boolean).sort((a, b) => a - b);
  return html`<figure class="chart">
    <div ref=${box} role="application" tabindex="0" aria-label=${`${label}. Arrow keys move, + and − zoom, 0 shows all, Enter opens the state.`} onkeydown=${press}></div>
    <figcaption>
      <ul class="legend">${curves.map((curve) => html`<li key=${curve.label}>
        <span class=${`swatch curve-${strokeOf(curve.label).index}`} aria-hidden="true"></span>${plain(curve.label)}
        <b>${text(curve, x === null ? lastOf(curve.line) : valueAt(curve, x))}</b></li>`)}</ul>
      <span class="muted">${widths.map((width) => (width === 1 ? "all states" : `${plural(width, "state")} a bucket`)).join(", ")}</span>
    </figcaption>
    <div class="unseen" aria-live="polite">${said}</div>
  </figure>`;
}

function pick(u, { curves, onPick }) {
  const x = u?.data[0][u.cursor.idx ?? -1];
  if (x === undefined || !onPick) return;
  const nearest = curves.map((curve) => ({ curve, value: valueAt(curve, x) })).filter((each) => each.value !== null);
  const y = u.posToVal(u.cursor.top, "y");
  const far = ({ value }) => (Number.isFinite(value) ? Math.abs(value - y) : Infinity);
  nearest.sort((a, b) => (far(a) === far(b) ? 0 : far(a) - far(b)));
  if (nearest.length) onPick(nearest[0].curve, x);
}

function tickTexts(ticks) {
  const there = ticks.filter((tick) => tick !== null);
  const digits = digitsFor(Math.max(...there.map(Math.abs)), Math.abs(there[1] - there[0]));
  return ticks.map((tick) => (tick === null ? "" : number(tick, digits)));
}

/** Return the digits that tell the values of a curve apart. @param {Curve} curve */
function digitsOf({ line }) {
  const finite = line.filter(Number.isFinite);
  const [least, most] = [finite.reduce((a, b) => Math.min(a, b), Infinity), finite.reduce((a, b) => Math.max(a, b), -Infinity)];
  return digitsFor(Math.max(Math.abs(least), Math.abs(most)), (most - least) / 1000);
}

/** Return what is said of the marks from one point to the next. @param {import("./marks.js").Mark[]} marks @param {number} x @param {number} [next] */
const marksAt = (marks, x, next = Infinity) => marks.filter((mark) => mark.x >= x && mark.x < next).map((mark) => `; ${mark.note ?? mark.text}`).join("");

const lastOf = (values) => values.findLast((value) => value !== null) ?? null;

/** Return what a curve has at x. @param {Curve} curve @param {number} x */
function valueAt(curve, x) {
  let [low, high] = [0, curve.x.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (curve.x[middle] <= x) low = middle;
    else high = middle - 1;
  }
  return curve.x[low] === x ? curve.line[low] : null;
}
