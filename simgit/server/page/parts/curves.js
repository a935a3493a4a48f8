// Curves of one or several runs: fields, zoom, smoothing and what is downloaded.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { get } from "../core/api.js";
import { count, plain, plural, seconds } from "../core/format.js";
import { useHeldQuery } from "../core/held.js";
import { useChanges } from "../core/inputs.js";
import { useCalm, useLoad } from "../core/load.js";
import { setQuery } from "../core/router.js";
import { runs as allRuns } from "../core/runs.js";
import { fieldsOf, useSeries } from "../core/series.js";
import { useStore } from "../core/store.js";
import { Brush } from "./brush.js";
import { Chart } from "./chart.js";
import { save, toCsv, toPng, toSvg } from "./download.js";

const AXES = { step: "step", episode: "episode", time: "time" };
const AGAIN = 250;
const ALL = { from: null, to: null };
const NAMED = 30; // marks with text: more would hide the curve

/**
 * The curves of runs; what is shown is part of the address.
 * @param {{names: string[], marks?: import("./marks.js").Mark[], onPick?: (run: string, step: number) => void,
 *   cursor?: number | null, hint?: any}} props
 */
export function Curves({ names, marks = [], onPick, cursor, hint }) {
  const { query, shown: now, hold } = useHeldQuery();
  const known = useStore(allRuns);
  const fields = (query.y ?? "return").split(",").filter(Boolean);
  const x = query.x in AXES ? query.x : "step";
  const smooth = smoothIn(now);
  const [from, to] = [asNumber(now.from), asNumber(now.to)];
  const read = { from: asNumber(query.from), to: asNumber(query.to) };
  const band = query.band !== "0";
  const there = names.filter((name) => known?.get(name)?.oid);
  const tips = useCalm(there.map((name) => known?.get(name)?.oid).join(), AGAIN);

  const isStep = x === "step";
  const shown = useSeries({ runs: there, fields, x, smooth: smoothIn(query), tips, withBand: band, ...(isStep ? { from: read.from, to: read.to === null ? null : read.to + 1 } : {}) });
  const isAll = !isStep || (read.from === null && read.to === null);
  const hasRead = useRead(shown, isStep ? read : ALL);
  const own = useSeries({ runs: isAll ? [] : there, fields, x, tips, points: 300, withBand: false });
  const whole = useWhole(shown, hasRead.from === null && hasRead.to === null, own, there, fields, x);
  const lastStep = Math.max(0, ...there.map((name) => known?.get(name)?.step ?? 0));
  const [first, last] = isStep ? [0, Math.max(1, lastStep)] : ends(whole.curves);
  const isWithin = !isStep || ((from ?? first) >= (hasRead.from ?? first) && (to ?? last) <= (hasRead.to ?? last));
  const curves = isWithin ? shown.curves : whole.curves; // until what is around has come
  const zoom = (a, b) => hold({ from: a === null ? null : Math.max(first, Math.round(a)), to: b === null ? null : Math.round(b) });

  const offered = useLoad((signal) => (there[0] ? get("states", known?.get(there[0])?.oid, {}, { signal }) : Promise.resolve(null)), [there[0]]);
  const choices = offered.data ? fieldsOf(offered.data) : ["return", "length", "reward"];
  useEmptyStart(query, offered.data, whole);
  const changes = useChanges(there);
  const isNamed = there.length === 1 && changes.length <= NAMED; // of several runs it is on the curve alone
  const all = isStep ? [...marks, ...changes.map((each) => (isNamed ? each : { ...each, text: "" }))] : [];

  if (!there.length) return html`<section class="curves" aria-label="Curves"><p class="empty">${hint ?? "No run with states is chosen."}</p></section>`;
  return html`<section class="curves" aria-label="Curves">
    <div class="tools">
      <${FieldChoice} fields=${fields} choices=${choices} />
      <label>x <select value=${x} onchange=${(event) => setQuery({ x: event.target.value === "step" ? null : event.target.value, from: null, to: null })}>
        ${Object.entries(AXES).map(([key, text]) => html`<option value=${key}>${text}</option>`)}</select></label>
      <label>smooth <input type="range" min="0" max="8" value=${Math.log2(smooth)} aria-valuetext=${smooth === 1 ? "off" : `over ${smooth} buckets`}
        oninput=${(event) => hold({ smooth: event.target.value === "0" ? null : 2 ** Number(event.target.value) })} />
        <output>${smooth === 1 ? "off" : smooth}</output></label>
      <label><input type="checkbox" checked=${band} onchange=${(event) => setQuery({ band: event.target.checked ? null : "0" })} /> min–max</label>
      ${(from !== null || to !== null) && html`<button type="button" onclick=${() => zoom(null, null)}>Show all</button>`}
      <span class="spread"></span>
      ${shown.isLoading && html`<span class="muted" role="status">reading …</span>`}
      <span class="buttons" role="group" aria-label="Download the curves">
        ${[["csv", toCsv], ["png", toPng], ["svg", toSvg]].map(([kind, make]) =>
          html`<button type="button" class="quiet" onclick=${async () => save(`curves.${kind}`, await make(curves.map((each) => clipped(each, from, to, isStep)), x))}>⤓ ${kind}</button>`)}
      </span>
    </div>
    ${shown.error && html`<p class="error" role="alert">${plain(shown.error.message)}</p>`}
    <${Chart} label=${`Curves of ${fields.join(", ")}`} curves=${curves} xLabel=${x} band=${band} from=${from ?? (isStep ? first : null)} to=${to ?? (isStep ? last : null)} marks=${all} cursor=${isStep ? cursor : null}
      isTime=${x === "time"} onZoom=${zoom} onPick=${isStep && onPick ? (curve, step) => onPick(curve.run, pickStep(curve, step)) : undefined} />
    <${Brush} curves=${whole.curves} from=${from} to=${to} first=${first} last=${last} onZoom=${zoom} />
    ${all.length > 0 && html`<${MarkList} marks=${all} names=${there} onPick=${onPick} />`}
  </section>`;
}

/** What is marked on the curves, as text. */
function MarkList({ marks, names, onPick }) {
  return html`<details class="marks"><summary>${plural(marks.length, "mark")}</summary>
    <ul class="plain">${[...marks].sort((a, b) => a.x - b.x).map((mark) => html`<li key=${`${mark.run} ${mark.x} ${mark.note ?? mark.text}`}>
      ${onPick ? html`<button type="button" class="quiet link" onclick=${() => onPick(mark.run ?? names[0], mark.x)}>@${count(mark.x)}</button>` : `@${count(mark.x)}`}
      ${" "}${mark.note ? html`<span aria-hidden="true">◆ </span>${names.length > 1 ? `${plain(mark.run)}: ` : ""}${mark.note}` : mark.text}</li>`)}</ul></details>`;
}

const asNumber = (text) => (text === undefined || text === null || text === "" || Number.isNaN(Number(text)) ? null : Number(text));

const smoothIn = (query) => Math.max(1, Number(query.smooth) || 1);

/** Return the zoom that the curves that are there were read for. */
function useRead(shown, asked) {
  const last = useRef({ curves: shown.curves, asked });
  if (last.current.curves !== shown.curves) last.current = { curves: shown.curves, asked };
  return last.current.asked;
}

/**
 * Return the curves of all steps: those that are shown where that is all, else what is read for it,
 * and until that has come what was shown before.
 */
function useWhole(shown, hasReadAll, own, ...of) {
  const key = JSON.stringify(of);
  const last = useRef({ key: "", series: own });
  const isOwn = own.curves.length > 0;
  if (isOwn || hasReadAll) last.current = { key, series: isOwn ? own : shown };
  return last.current.key === key ? last.current.series : own;
}

/** A bucket is named by its first step; its newest state is the last that it has. */
const pickStep = (curve, x) => Math.min(curve.stop - 1, x + curve.width - 1);

function ends(curves) {
  const all = curves.flatMap((curve) => (curve.x.length ? [curve.x[0], curve.x[curve.x.length - 1]] : []));
  return all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
}

/** Return what is drawn between two places: with the bucket that began before the first and reaches into it. */
function clipped(curve, from, to, isStep) {
  const reaches = (index) => (isStep ? curve.x[index] + curve.width > from : curve.width > 1 && curve.x[index + 1] > from);
  const keep = curve.x.map((x, index) => (from === null || x >= from || reaches(index)) && (to === null || x <= to));
  const kept = (values) => values.filter((_, index) => keep[index]);
  return { ...curve, x: kept(curve.x), mean: kept(curve.mean), min: kept(curve.min), max: kept(curve.max), line: kept(curve.line) };
}

/** Show rewards instead where no episode has ended yet, as long as nobody has chosen. */
function useEmptyStart(query, state, whole) {
  const isEmpty = !whole.isLoading && !whole.error && whole.curves.length > 0 && whole.curves.every((curve) => !curve.x.length);
  useEffect(() => {
    if (!query.y && state && isEmpty && "reward" in state) setQuery({ y: "reward" });
  }, [query.y, state, isEmpty]);
}

/** The fields that are drawn, and those that could be. */
function FieldChoice({ fields, choices }) {
  const [text, setText] = useState("");
  const set = (next) => setQuery({ y: next.join(",") || null });
  const add = (name) => {
    if (name && !fields.includes(name)) set([...fields, name]);
    setText("");
  };
  return html`<span class="chips">y
    ${fields.map((name) => html`<span class="chip" key=${name}>${plain(name)}
      ${fields.length > 1 && html`<button type="button" class="quiet" aria-label=${`Remove ${name}`} onclick=${() => set(fields.filter((each) => each !== name))}>✕</button>`}</span>`)}
    <input list="fields" size="10" aria-label="Add a field" placeholder="+ field" value=${text}
      oninput=${(event) => (choices.includes(event.target.value) && event.inputType !== "insertText" ? add(event.target.value) : setText(event.target.value))}
      onkeydown=${(event) => event.key === "Enter" && add(text.trim())} />
    <datalist id="fields">${choices.filter((name) => !fields.includes(name)).map((name) => html`<option value=${name}></option>`)}</datalist>
  </span>`;
}
