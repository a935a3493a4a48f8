// The last lines of a simulation's log.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { plain, plural } from "../../core/format.js";
import { useLines } from "../../core/lines.js";

const LEVELS = ["debug", "info", "warning", "error"];
const SHOWN = 1000;

/** @param {{name: string, isOver: boolean}} props */
export function Lines({ name, isOver }) {
  const { lines, more, error } = useLines(name, !isOver);
  const [level, setLevel] = useState("debug");
  const [text, setText] = useState("");
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const follows = useRef(true);
  const least = LEVELS.indexOf(level);
  const wanted = text.trim().toLowerCase();
  const chosen = lines.filter((line) => LEVELS.indexOf(line.level) >= least && (!wanted || line.text.toLowerCase().includes(wanted)));
  const shown = chosen.slice(-SHOWN);
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown.length, shown[shown.length - 1]?.number]);
  const onscroll = (event) => { follows.current = event.target.scrollHeight - event.target.scrollTop - event.target.clientHeight < 8; };
  return html`<section class="panel" aria-label="Log">
    <div class="tools"><h2>Log</h2><span class="spread"></span>
      <label>level <select value=${level} onchange=${(event) => setLevel(event.target.value)}>${LEVELS.map((each) => html`<option value=${each}>${each === "debug" ? "all" : `${each} and above`}</option>`)}</select></label>
      <input type="search" aria-label="Filter the log" placeholder="⌕ filter" value=${text} oninput=${(event) => setText(event.target.value)} /></div>
    ${error && html`<p class="said" role="alert">${plain(error.message)}</p>`}
    <div class="lines" role="region" aria-label="Lines of the log" tabindex="0" ref=${box} onscroll=${onscroll}>
      ${more && html`<button type="button" class="quiet" onclick=${more}>Read older lines</button>`}
      ${shown.map((line) => html`<div key=${line.number} class=${`line ${line.level}`}><span class="muted">${line.time}</span> <span class="level">${line.time ? line.level : ""}</span> <span class="muted number">${line.step ?? ""}</span> <span>${plain(line.text)}</span></div>`)}
      ${!shown.length && html`<p class="muted">${lines.length ? `none of ${plural(lines.length, "line")} matches` : "no line yet"}</p>`}
    </div>
  </section>`;
}
