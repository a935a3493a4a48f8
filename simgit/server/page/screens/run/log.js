// The log of a simulation, which follows while it runs.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { count, plain } from "../../core/format.js";
import { useLines } from "../../core/lines.js";
import { connection } from "../../core/live.js";
import { asOf } from "../../core/router.js";
import { useStore } from "../../core/store.js";

const SHOWN = 5000;
const LEVELS = ["debug", "info", "warning", "error"];

/** @param {{run: any, simulation: any}} props */
export function Panel({ run, simulation }) {
  const isLive = useStore(connection, (state) => state === "live");
  if (simulation) return html`<${Log} name=${run.name} isOn=${!simulation.outcome} />`;
  return html`<p class="empty">${asOf() !== null ? "A log is only known of now." : isLive ? "No simulation recorded this run: there is no log." : "reading …"}</p>`;
}

function Log({ name, isOn }) {
  const { lines, more, error, isThere } = useLines(name, isOn);
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
  if (error && !lines.length) return html`<p class="error" role="alert">${plain(error.message)}</p>`;
  const see = ({ target }) => setFollows(target.scrollTop + target.clientHeight >= target.scrollHeight - 4);
  return html`<div class="tools">
      <label>level <select value=${level} onchange=${(event) => setLevel(event.target.value)}>
        <option value="debug">all</option>${LEVELS.slice(1).map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
      <input type="search" aria-label="Filter the log" placeholder="⌕ text" value=${text} oninput=${(event) => setText(event.target.value)} />
      <label><input type="checkbox" checked=${follows} onchange=${(event) => setFollows(event.target.checked)} /> follow</label>
      <span class="spread"></span><span class="muted" role="status">${count(chosen.length)} of ${count(lines.length)} lines${chosen.length > SHOWN ? `; ${count(chosen.length - SHOWN)} older ones are not shown, filter them` : ""}</span>
    </div>
    <div class="log" ref=${box} role="log" aria-label="Log" tabindex="0" onscroll=${see}>
      ${more && html`<button type="button" class="quiet" onclick=${() => { setFollows(false); more(); }}>Read older lines</button>`}
      ${shown.map((line) => html`<div key=${line.number} class=${`line ${line.level}`}><time>${line.time}</time><span class="number muted">${line.step === null ? "" : `@${line.step}`}</span><span class="level">${line.time ? line.level : ""}</span><span>${plain(line.text)}</span></div>`)}
      ${!shown.length && html`<p class="empty">${lines.length ? "No line fulfils this." : isThere ? "Nothing was written yet." : "reading …"}</p>`}
    </div>`;
}
