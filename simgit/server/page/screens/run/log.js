// The log of a simulation, which follows while it runs.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { count, plain } from "../../core/format.js";
import { on } from "../../core/live.js";

const EVERY = 1000;
const MOST = 5000;
const SHOWN = 1000;
const LEVELS = ["debug", "info", "warning", "error"];

/** @param {{run: any, simulation: any}} props */
export function Panel({ run, simulation }) {
  const { lines, gone, error, isThere } = useLines(run.name, simulation);
  const [level, setLevel] = useState("debug");
  const [text, setText] = useState("");
  const [follows, setFollows] = useState(true);
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const least = LEVELS.indexOf(level);
  const chosen = lines.filter((line) => LEVELS.indexOf(line.level) >= least && (!text || line.text.toLowerCase().includes(text.toLowerCase())));
  const shown = chosen.slice(-SHOWN);
  useEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown.length, shown.at(-1), follows]);
  if (error) return html`<p class="empty">${plain(error)}</p>`;
  const see = ({ target }) => setFollows(target.scrollTop + target.clientHeight >= target.scrollHeight - 4);
  return html`<div class="tools">
      <label>level <select value=${level} onchange=${(event) => setLevel(event.target.value)}>
        <option value="debug">all</option>${LEVELS.slice(1).map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
      <input type="search" aria-label="Filter the log" placeholder="⌕ text" value=${text} oninput=${(event) => setText(event.target.value)} />
      <label><input type="checkbox" checked=${follows} onchange=${(event) => setFollows(event.target.checked)} /> follow</label>
      <span class="spread"></span><span class="muted" role="status">${count(chosen.length)} of ${count(lines.length)} lines${gone ? `, ${count(gone)} older ones are left out` : ""}</span>
    </div>
    <div class="log" ref=${box} role="log" aria-label="Log" tabindex="0" onscroll=${see}>
      ${shown.map((line) => html`<div key=${line.number} class=${`line ${line.level}`}><time>${line.time}</time><span class="number muted">${line.step === null ? "" : `@${line.step}`}</span><span class="level">${line.time ? line.level : ""}</span><span>${plain(line.text)}</span></div>`)}
      ${!shown.length && html`<p class="empty">${lines.length ? "No line fulfils this." : isThere ? "Nothing was written yet." : "reading …"}</p>`}
    </div>`;
}

/** Return a line of the log by its parts: time, level, step, text; what a library wrote has none of them. */
export function parsed(line, number) {
  const found = /^(\d\d:\d\d:\d\d) (debug|info|warning|error) +(-?\d+)  (.*)$/s.exec(line);
  return found ? { number, time: found[1], level: found[2], step: Math.max(0, Number(found[3])), text: found[4] } : { number, time: "", level: "info", step: null, text: line };
}

/** Read the lines, and go on from the last while the simulation runs. */
function useLines(name, simulation) {
  const [state, set] = useState({ lines: /** @type {any[]} */ ([]), gone: 0, error: /** @type {string | null} */ (null), isThere: false });
  const isOn = Boolean(simulation) && !simulation.outcome;
  const next = useRef(0);
  useEffect(() => {
    const control = new AbortController();
    let isBusy = false;
    async function read() {
      if (isBusy || document.hidden) return;
      isBusy = true;
      try {
        const found = await get("lines", name, { after: next.current }, { signal: control.signal });
        next.current = found.next;
        set((before) => {
          const start = before.gone + before.lines.length;
          const all = [...before.lines, ...found.lines.map((line, index) => parsed(line, start + index))];
          const left = Math.max(0, all.length - MOST);
          return { lines: all.slice(left), gone: before.gone + left, error: null, isThere: true };
        });
        if (found.lines.length && found.next) setTimeout(read, 0); // an answer has at most a mebibyte
      } catch (error) {
        if (!control.signal.aborted) set((before) => (before.lines.length ? before : { ...before, error: error.status === 404 ? "No simulation recorded this run: there is no log." : error.message }));
      } finally {
        isBusy = false;
      }
    }
    read();
    const end = on("line", ({ run }) => run === name && read());
    const timer = isOn ? setInterval(read, EVERY) : 0;
    return () => {
      control.abort();
      clearInterval(timer);
      end();
    };
  }, [name, isOn]);
  return state;
}
