// The states of a run as rows, or those that fulfil a condition.
import { html, useEffect, useMemo, useRef, useState } from "../../vendor/preact.js";
import { send, url } from "../../core/api.js";
import { count, number, plain, plural } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { place, setQuery } from "../../core/router.js";
import { useStore } from "../../core/store.js";
import { Table } from "../../parts/table.js";
import { brief } from "./inspector.js";

const PAGE = 200;
const WINDOW = 100_000; // browsers draw no element that is higher than some million pixels
const COLUMNS = [
  ["step", "6rem", true, (row) => count(row.step)],
  ["episode", "5rem", true, (row) => row.line && count(row.line.episode)],
  ["in it", "4rem", true, (row) => row.line && count(row.line.episode_step)],
  ["action", "minmax(6rem, 2fr)", false, (row) => row.line && (row.line.reset ? html`<span class="muted">reset</span>` : brief(row.line.action))],
  ["reward", "7rem", true, (row) => row.line && number(row.line.reward)],
  ["ended", "7rem", false, (row) => row.line && (row.line.terminated ? "■ terminated" : row.line.truncated ? "✂ truncated" : "")],
  ["oid", "7rem", false, (row) => row.line && html`<code>${row.line.oid.slice(0, 8)}</code>`],
];

/** @param {{run: any, past: import("./past.js").Past, step: number, onStep: (step: number) => void}} props */
export function Panel({ run, past, step, onStep }) {
  const where = useStore(place, ({ query }) => query.states ?? "");
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const columns = useMemo(() => COLUMNS.map(([title, width, isNumber, draw]) => ({ key: title, title, width, isNumber, draw })), []);
  if (!run.oid) return html`<p class="empty">No states yet.</p>`;
  const submit = (event) => {
    event.preventDefault();
    setQuery({ states: input.current?.value.trim() || null });
  };
  return html`<form class="tools" onsubmit=${submit}>
      <input ref=${input} class="mono wide" type="search" aria-label="Filter the states" placeholder="⌕ terminated and reward < 1" defaultValue=${where} key=${where}
        oninput=${(event) => event.target.value === "" && where && setQuery({ states: null })} />
      <button>Filter</button>
    </form>
    ${where
      ? html`<${Found} key=${where} run=${run} where=${where} step=${step} columns=${columns} onStep=${onStep} />`
      : html`<${All} run=${run} past=${past} step=${step} columns=${columns} onStep=${onStep} />`}`;
}

/** Rows by step: a row is known before its state is read. */
class Steps {
  constructor(past, first, last) {
    Object.assign(this, { past, first, last, length: last - first + 1 });
  }

  at(index) {
    const step = this.first + index;
    return { step, line: this.past.line(step) };
  }

  slice(from, to) {
    return Array.from({ length: Math.max(0, Math.min(to, this.length) - from) }, (_, offset) => this.at(from + offset));
  }
}

function All({ run, past, step, columns, onStep }) {
  const [, redraw] = useState(0);
  const tip = run.step;
  const first = Math.floor(Math.max(0, step) / WINDOW) * WINDOW;
  const last = Math.min(tip, first + WINDOW - 1);
  const rows = useMemo(() => new Steps(past, first, last), [past, first, last]);
  const [seen, setSeen] = useState(/** @type {[number, number]} */ ([step, step]));
  useEffect(() => setSeen([step, step]), [step]);
  useEffect(() => {
    let isWanted = true;
    const wanted = [...new Set([seen[0], seen[1], step])].filter((each) => each >= 0 && each <= tip);
    Promise.all(wanted.map((each) => past.loadLines(each))).then(() => isWanted && redraw((times) => times + 1), () => {});
    return () => { isWanted = false; };
  }, [past, seen[0], seen[1], step, tip, past.generation.value]);
  return html`<${Table} label="States" columns=${columns} rows=${rows} rowKey=${(row) => String(row.step)} current=${String(step)}
      at=${step - first} onCurrent=${(key) => onStep(Number(key))} onSeen=${(from, to) => setSeen([first + from, Math.min(tip, first + to)])} />
    <p class="muted">${plural(tip + 1, "state")}${tip >= WINDOW ? html`; rows ${count(first)} to ${count(last)}
      <button type="button" class="quiet" disabled=${first === 0} onclick=${() => onStep(first - 1)}>earlier</button>
      <button type="button" class="quiet" disabled=${last >= tip} onclick=${() => onStep(last + 1)}>later</button>` : ""}</p>`;
}

/** Those that fulfil a condition, the newest first, by pages. */
function Found({ run, where, step, columns, onStep }) {
  const [pages, setPages] = useState(1);
  const { data, error, isLoading } = useLoad(async (signal) => {
    const rows = [];
    let next = url("log", run.oid, { where, limit: PAGE });
    for (let page = 0; page < pages && next; page++) {
      const response = await send("GET", next, { signal, as: "response" });
      rows.push(...(await response.json()));
      next = /<([^>]+)>; rel="next"/.exec(response.headers.get("Link") ?? "")?.[1] ?? "";
    }
    return { rows: rows.map((line) => ({ step: line.step, line })), hasMore: Boolean(next) };
  }, [run.oid, where, pages]);
  if (error) return html`<p class="error" role="alert">${plain(error.message)}</p>`;
  return html`<${Table} label="States" columns=${columns} rows=${data?.rows ?? []} rowKey=${(row) => String(row.step)} current=${String(step)}
      onCurrent=${(key) => onStep(Number(key))} empty=${data ? "No state fulfils the condition." : "reading …"} />
    <p class="muted" role="status">${data ? `${plural(data.rows.length, "state")}${data.hasMore ? ", the newest" : ""}` : ""}
      ${data?.hasMore && html` <button type="button" class="quiet" onclick=${() => setPages(pages + 1)}>read more</button>`}${isLoading && data ? " reading …" : ""}</p>`;
}
