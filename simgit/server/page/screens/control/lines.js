// The last lines of a simulation's log.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { plain, plural } from "../../core/format.js";
import { useLines } from "./standing.js";

const LEVELS = ["debug", "info", "warning", "error"];
const LINE = /^(\d\d:\d\d:\d\d) (debug|info|warning|error) +(-?\d+) {2}(.*)$/;
const SHOWN = 200;

/** @param {{name: string, isOver: boolean}} props */
export function Lines({ name, isOver }) {
  const { lines, error } = useLines(name, isOver);
  const [level, setLevel] = useState("debug");
  const [text, setText] = useState("");
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const follows = useRef(true);
  const least = LEVELS.indexOf(level);
  const wanted = text.trim().toLowerCase();
  const chosen = lines.map((line) => ({ key: line.key, ...parsed(line.text) }))
    .filter((line) => LEVELS.indexOf(line.level ?? "info") >= least && (!wanted || line.text.toLowerCase().includes(wanted)));
  const shown = chosen.slice(-SHOWN);
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown.length, shown[shown.length - 1]?.key]);
  const onscroll = (event) => { follows.current = event.target.scrollHeight - event.target.scrollTop - event.target.clientHeight < 8; };
  return html`<section class="panel" aria-label="Log">
    <div class="tools"><h2>Log</h2><span class="spread"></span>
      <label>level <select value=${level} onchange=${(event) => setLevel(event.target.value)}>${LEVELS.map((each) => html`<option value=${each}>${each === "debug" ? "all" : `${each} and above`}</option>`)}</select></label>
      <input type="search" aria-label="Filter the log" placeholder="⌕ filter" value=${text} oninput=${(event) => setText(event.target.value)} /></div>
    ${error && html`<p class="said" role="alert">${plain(error.message)}</p>`}
    <div class="lines" role="region" aria-label="Lines of the log" tabindex="0" ref=${box} onscroll=${onscroll}>
      ${shown.map((line) => html`<div key=${line.key} class=${`line ${line.level ?? ""}`}><span class="muted">${line.at ?? ""}</span> <span class="level">${line.level ?? ""}</span> <span class="muted number">${line.step ?? ""}</span> <span>${plain(line.text)}</span></div>`)}
      ${!shown.length && html`<p class="muted">${lines.length ? `none of ${plural(lines.length, "line")} matches` : "no line yet"}</p>`}
    </div>
  </section>`;
}

/** @param {string} text */
function parsed(text) {
  const found = LINE.exec(text);
  return found ? { at: found[1], level: found[2], step: found[3] === "-1" ? "" : found[3], text: found[4] } : { text };
}
